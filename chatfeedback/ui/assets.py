"""Assets: scripts, styles and pictures of the page."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
