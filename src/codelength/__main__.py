"""``python -m codelength`` is the command ``codelength``."""

import sys

from codelength.cli import main

sys.exit(main())
