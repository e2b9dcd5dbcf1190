"""The nginx that tests put in front of replicas: the system's, which Python cannot bring along.

`python tests/nginx.py` prints its version; the status is 1 where there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

IS_CI = bool(os.environ.get("CI"))  # read now: some tests change the environment


def executable() -> str | None:
    """Its path, None where there is none."""
    # Debian keeps it where the PATH of ordinary users does not lead.
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
    return shutil.which("nginx", path=os.pathsep.join(places))


def wanted() -> str:
    """Its path. Without it the test is skipped; in CI, where nothing may be left out, it fails."""
    import pytest

    if found := executable():
        return found
    missing = "There is no nginx on this machine; `uv run scripts/test` installs it where it may use apt-get."
    if IS_CI:
        pytest.fail(missing)
    pytest.skip(missing)


def main() -> int:
    found = executable()
    return subprocess.run([found, "-v"]).returncode if found else 1


if __name__ == "__main__":
    sys.exit(main())
