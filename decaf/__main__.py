"""``python -m decaf``: the same as the console script ``decaf``."""

from __future__ import annotations

import sys

from decaf.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
