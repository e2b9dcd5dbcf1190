"""The Chromium that the browser tests drive: the system's if there is one, else Playwright's own.

`python tests/chromium.py` starts it once and prints its version; the status is 1 if it does not start.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

NAMES = ("chromium-headless-shell", "chromium", "google-chrome", "google-chrome-stable", "chromium-browser")


def executable() -> str | None:
    """Return the path of the system's Chromium, or None for Playwright's own."""
    # A name on the PATH is not enough: some systems have a script there that only says how to install it.
    for path in filter(None, map(shutil.which, NAMES)):
        if subprocess.run([path, "--version"], capture_output=True).returncode == 0:
            return path
    return None


def main() -> int:
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=executable())
        except Error as error:
            print(f"No Chromium starts: {error.message.splitlines()[0]}", file=sys.stderr)
            return 1
        print(f"Chromium {browser.version} starts.")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
