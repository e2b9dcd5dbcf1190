"""Run the torture test: uv run python -m tests.torture --kills 200 --database sqlite."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The helpers of the tests are imported as the tests import them.
sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

if __name__ == "__main__":
    from torture.command import main

    sys.exit(main())
