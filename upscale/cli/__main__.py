"""`python -m upscale.cli` is the `upscale` command."""

import sys

from upscale.cli import main

sys.exit(main())
