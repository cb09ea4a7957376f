"""Runs `make gpu-check` (see `command`)."""

import sys

from comem_core.measures.gpu.command import main

if __name__ == "__main__":
    sys.exit(main())
