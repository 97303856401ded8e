"""``python -m metaest`` is the command line."""

import sys

from metaest.cli import main

if __name__ == "__main__":
    sys.exit(main())
