"""Real nginx with deploy/nginx.conf, in front of two ports of this machine.

with Nginx(program, folder, ports=(free_port(), free_port()), replicas=(port, port)) as nginx:
    httpx.get(nginx.address, verify=nginx.trust)
"""

from __future__ import annotations

import ipaddress
import re
import signal
import socket
import ssl
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx.conf"
PATIENCE = 20.0


class Served(NamedTuple):
    """Request, as the log tells it."""

    client: str
    request: str
    status: int
    upstreams: list[int]
    """The ports that were asked, in turn."""


class Nginx:
    """Process of nginx, to the end of the block. `ports`: those for HTTPS and for HTTP. `replicas`: their ports."""

    def __init__(self, program: str, folder: Path, ports: tuple[int, int], replicas: tuple[int, int]) -> None:
        self._program = program
        self._folder = folder
        self.port, self.plain_port = ports
        self._log = folder / "access.log"
        self._write_certificate()
        self._replicas = replicas
        self._write_configuration(replicas)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}/"

    @property
    def trust(self) -> ssl.SSLContext:
        """TLS context for clients that trust its certificate."""
        return ssl.create_default_context(cafile=self._folder / "fullchain.pem")

    def __enter__(self) -> Nginx:
        options = ["-p", self._folder, "-c", self._folder / "nginx.conf", "-e", self._folder / "error.log"]
        self._process = subprocess.Popen([self._program, *options, "-g", "daemon off;"], stderr=subprocess.PIPE)
        until = time.monotonic() + PATIENCE
        while not answers(self.port):
            if self._process.poll() is not None or time.monotonic() > until:
                self._process.kill()
                raise AssertionError(f"nginx does not start: {self._process.communicate()[1].decode()}")
            time.sleep(0.02)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE)

    def take_out(self, port: int) -> None:
        """Mark a replica `down` and have the configuration read again; open streams go on."""
        configuration = self._folder / "nginx.conf"
        text = configuration.read_text("utf-8")
        marked = re.sub(rf"(server 127\.0\.0\.1:{port}) [^;]*;", r"\1 down;", text)
        assert marked != text
        configuration.write_text(marked, "utf-8")
        self._process.send_signal(signal.SIGHUP)

    def put_back(self) -> None:
        """Put all replicas back."""
        self._write_configuration(self._replicas)
        self._process.send_signal(signal.SIGHUP)

    def logged(self) -> str:
        """Return all of its logs."""
        return "".join((self._folder / name).read_text() for name in ("access.log", "error.log"))

    def served(self, address: str) -> Served:
        """Return the line of the log about the one request for this address, as soon as it is written."""
        until = time.monotonic() + PATIENCE
        while not (lines := [line for line in self._log.read_text().splitlines() if f' {address}" ' in line]):
            assert time.monotonic() < until, f"{address} is not in the log"
            time.sleep(0.02)
        (line,) = lines
        return _served(line)

    def asked(self) -> set[int]:
        """Return the ports of the replicas that have got any request so far."""
        return {port for line in self._log.read_text().splitlines() for port in _served(line).upstreams}

    def _write_configuration(self, replicas: tuple[int, int]) -> None:
        """Write the configuration; replace each path and port of a real machine at its one place."""
        folder, text = self._folder, CONFIGURATION.read_text("utf-8")
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        for original, replacement in {
            "pid /run/nginx.pid;": f"pid {folder}/nginx.pid;",
            "error_log /var/log/nginx/error.log crit;": f"error_log {folder}/error.log crit;",
            "access_log /var/log/nginx/access.log requests;": f"access_log {self._log} requests;",
            "server replica-1:7861 ": f"server 127.0.0.1:{replicas[0]} ",
            "server replica-2:7862 ": f"server 127.0.0.1:{replicas[1]} ",
            "ssl_certificate /etc/nginx/tls/fullchain.pem;": f"ssl_certificate {folder}/fullchain.pem;",
            "ssl_certificate_key /etc/nginx/tls/privkey.pem;": f"ssl_certificate_key {folder}/privkey.pem;",
            "listen 80 ": f"listen 127.0.0.1:{self.plain_port} ",
            "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            "http {\n": f"http {{\n    {temporary}\n",  # where files would lie if there were any
        }.items():
            assert text.count(original) == 1, f"deploy/nginx.conf should have {original!r} once"
            text = text.replace(original, replacement)
        (folder / "nginx.conf").write_text(text, "utf-8")

    def _write_certificate(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
        (self._folder / "fullchain.pem").write_bytes(certificate.public_bytes(pem))
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password)
        (self._folder / "privkey.pem").write_bytes(private)


def _served(line: str) -> Served:
    """Parse a line of the log."""
    before, request, after = line.split('"')
    status, _bytes, _seconds, _id, *upstreams = after.replace(",", "").split()
    ports = upstreams[: len(upstreams) // 2]  # the others are their statuses
    return Served(before.split()[0], request, int(status), [int(one.rpartition(":")[2]) for one in ports])


def answers(port: int) -> bool:
    """Return True if a server listens on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
