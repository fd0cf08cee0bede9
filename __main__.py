"""Run the command line as ``python -m trimf``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
