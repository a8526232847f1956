"""`python -m edge SPEC`: how the parent starts its children; people start `graywave edge`."""

import json
import os
import sys

from edge.main import run_child

if __name__ == "__main__":
    run_child(json.loads(sys.argv[1]), os.environ)
