"""`python -m minihash` is the command `minihash`."""

import sys

from minihash.cli import main

sys.exit(main())
