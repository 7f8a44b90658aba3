"""Learned sorters: their training, what they are measured by, and whether they are worth it."""
