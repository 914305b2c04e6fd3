"""python -m protocols.cli: the same as the command `radmpc`."""

import sys

from protocols.cli import main

sys.exit(main())
