"""``python -m rankgrad``: the ``rankgrad`` command."""

from rankgrad.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
