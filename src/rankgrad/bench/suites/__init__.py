"""The suites of ``rankgrad bench``: one a file, each with a function ``rows(bench) -> rows``."""
