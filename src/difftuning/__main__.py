"""`python -m difftuning`, the same as the command `difftuning`."""

import sys

from difftuning.cli.main import main

sys.exit(main())
