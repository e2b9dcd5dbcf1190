"""PgBouncer, a pooler in front of Postgres: the system's, which Python cannot bring along.

`python tests/pgbouncer.py` prints its version; the status is 1 where there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IS_CI = bool(os.environ.get("CI"))  # read now: some tests change the environment
SECONDS = 60.0


def executable() -> str | None:
    """Return its path; None where there is none."""
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
    return shutil.which("pgbouncer", path=os.pathsep.join(places))


@contextmanager
def pooling(host: str, pool_mode: str) -> Iterator[str]:
    """Run a pooler before the Postgres whose socket is in the folder `host`; yield the folder of its own socket.

    Without PgBouncer on this machine the test is skipped; in CI it fails.
    """
    import psycopg
    import pytest

    import clusters

    program = executable()
    if program is None:
        missing = "There is no PgBouncer on this machine; `uv run scripts/test` installs it where it may use apt-get."
        if IS_CI:
            pytest.fail(missing)
        pytest.skip(missing)
    folder = Path(tempfile.mkdtemp(prefix="chatfeedback-pool-"))
    user = clusters.user()  # it refuses to run as root, and the folder of the cluster is closed to others
    if user is not None:
        shutil.chown(folder, user)
    settings = folder / "pgbouncer.ini"
    size = 5 if pool_mode == "transaction" else 40  # a session is not shared: there must be one for each connection
    settings.write_text(
        f"[databases]\n* = host={host} user=postgres\n[pgbouncer]\nunix_socket_dir = {folder}\nlisten_addr =\n"
        f"auth_type = any\npool_mode = {pool_mode}\ndefault_pool_size = {size}\nmax_client_conn = 200\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, settings], stdin=subprocess.DEVNULL, stderr=log, cwd=folder, user=user)
    try:
        until = time.monotonic() + SECONDS
        while True:
            try:
                psycopg.connect(f"host={folder} port=6432 user=postgres dbname=postgres").close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.05)
        yield str(folder)
    finally:
        process.terminate()
        process.wait(SECONDS)
        shutil.rmtree(folder)


def main() -> int:
    path = executable()
    return subprocess.run([path, "--version"]).returncode if path else 1


if __name__ == "__main__":
    sys.exit(main())
