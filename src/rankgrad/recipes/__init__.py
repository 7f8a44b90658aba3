"""Whole training runs: data, model, methods side by side, results in files, one page to read."""
