"""``python -m tests.property --seeds 0:1000``: a verdict on each random module, and a summary."""

import sys

from tests.property.run import main

if __name__ == "__main__":
    sys.exit(main())
