"""Detectors trained by ranking: settings, training, evaluation and comparison."""
