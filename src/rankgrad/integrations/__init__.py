"""rankgrad inside other people's code."""
