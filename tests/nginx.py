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
    """Return its path; None where there is none."""
    # Debian keeps it where the PATH of ordinary users does not lead.
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
    return shutil.which("nginx", path=os.pathsep.join(places))


def wanted() -> str:
    """Return its path; without it skip the test, or fail it in CI, where no test may be left out."""
    import pytest

    if path := executable():
        return path
    missing = "There is no nginx on this machine; `uv run scripts/test` installs it where it may use apt-get."
    if IS_CI:
        pytest.fail(missing)
    pytest.skip(missing)


def main() -> int:
    path = executable()
    return subprocess.run([path, "-v"]).returncode if path else 1


if __name__ == "__main__":
    sys.exit(main())
