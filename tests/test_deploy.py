"""The files of deploy/ for Docker and systemd: every setting in them exists, and they agree with each other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from configparser import ConfigParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from chatfeedback.config.settings import Settings
from chatfeedback.server.run import GRACE_SECONDS
from chatfeedback.server.shutdown import STORE_SECONDS
from serving import served

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
UV = os.environ.get("UV", "uv")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
REPLICAS = ("replica-1", "replica-2")
NGINX = (DEPLOY / "nginx.conf").read_text("utf-8")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
UNIT = (DEPLOY / "chatfeedback.service").read_text("utf-8")
DOT_ENV = {"POSTGRES_PASSWORD": "abc123", "CHATFEEDBACK_PUBLIC_URL": "https://chat.example.org"}


def environment(service: str) -> dict[str, str]:
    """Return the variables of a service, with those of the file `.env` put in.

    Raises:
        KeyError: For a variable that has to be there.
    """

    def written(match: re.Match[str]) -> str:
        name, _, default = match[1].partition(":")
        return DOT_ENV[name] if default.startswith("?") else DOT_ENV.get(name, default.removeprefix("-"))

    return {name: re.sub(r"\$\{([^}]+)\}", written, value) for name, value in SERVICES[service]["environment"].items()}


def address(service: str) -> str:
    return str(SERVICES[service]["networks"]["inside"]["ipv4_address"])


def unit(key: str) -> list[str]:
    """Return every value of a key of the unit."""
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


def longest_end() -> float:
    """Return the seconds that a process may take from SIGTERM to its end."""
    return float(Settings.model_fields["shutdown_seconds"].default) + GRACE_SECONDS + STORE_SECONDS


# Docker


@pytest.mark.parametrize("replica", REPLICAS)
def test_compose_settings_of_replica_are_valid_and_agree_with_other_services(
    replica: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment(replica).items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    database = environment("postgres")
    assert settings.database_url == (
        f"postgresql+psycopg://{database['POSTGRES_USER']}:{DOT_ENV['POSTGRES_PASSWORD']}@postgres"
        f"/{database['POSTGRES_DB']}"
    )
    assert f"server {replica}:{settings.port} " in NGINX
    assert settings.trusted_proxies == (f"{address('nginx')}/32",)
    assert settings.public_url == DOT_ENV["CHATFEEDBACK_PUBLIC_URL"]
    assert (settings.auth, settings.host, settings.migrate) == ("password", "0.0.0.0", True)


def test_compose_replicas_are_those_of_nginx_at_fixed_addresses() -> None:
    assert re.findall(r"^ *server ([\w-]+):", NGINX, re.MULTILINE) == list(REPLICAS)
    assert SERVICES["nginx"]["extra_hosts"] == [f"{replica}:{address(replica)}" for replica in REPLICAS]
    (subnet,) = COMPOSE["networks"]["inside"]["ipam"]["config"]
    fixed = [ip_address(address(service)) for service in (*REPLICAS, "nginx")]
    assert len(set(fixed)) == 3
    assert all(one in ip_network(subnet["subnet"]) for one in fixed)


def test_compose_gives_nginx_its_configuration_and_certificate() -> None:
    mounted = dict(volume.split(":")[:2] for volume in SERVICES["nginx"]["volumes"])
    assert mounted == {"./nginx.conf": "/etc/nginx/nginx.conf", "./tls": "/etc/nginx/tls"}
    assert set(re.findall(r"ssl_certificate(?:_key)? (.*)/\w+\.pem;", NGINX)) == {"/etc/nginx/tls"}
    assert SERVICES["nginx"]["ports"] == ["80:80", "443:443"]
    assert re.findall(r"listen (\d+)", NGINX) == ["80", "443"]


@pytest.mark.parametrize("variable", DOT_ENV)
def test_compose_has_no_default_password_and_address(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(DOT_ENV, variable)
    for service in REPLICAS:
        with pytest.raises(KeyError, match=variable):
            environment(service)


def test_compose_publishes_ports_of_nginx_only() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]


def test_compose_replicas_wait_for_postgres_and_have_time_to_end() -> None:
    assert SERVICES["postgres"]["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    for replica in REPLICAS:
        assert SERVICES[replica]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
        assert float(SERVICES[replica]["stop_grace_period"].removesuffix("s")) > longest_end() + 10
        assert SERVICES[replica]["healthcheck"]["test"][-1] in DOCKERFILE


@pytest.mark.process
def test_image_is_built_of_files_sent_to_docker_and_runs_as_unprivileged_user(tmp_path: Path) -> None:
    sent = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE))
    copied = [line.split()[1:-1] for line in re.findall(r"^COPY (?!--from).*$", DOCKERFILE, re.MULTILINE)]
    assert {source for sources in copied for source in sources} == sent
    for source in sent - {"deploy/ready.py"}:
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, tmp_path / source)
    built = subprocess.run([UV, "build", "--wheel", tmp_path], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert list((tmp_path / "dist").glob("chatfeedback-*.whl"))
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001"]


@pytest.mark.process
def test_container_is_not_ready_without_answer_or_after_error_answer() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # it answers everything with 501
        asking = [sys.executable, DEPLOY / "ready.py"]
        variables = {"CHATFEEDBACK_PORT": str(server.server_port)}
        answering = threading.Thread(target=server.serve_forever, args=(0.02,))
        answering.start()
        refused = subprocess.run(asking, env=variables, capture_output=True, text=True)
        server.shutdown()
        answering.join()
    silent = subprocess.run(asking, env=variables, capture_output=True, text=True)
    assert (refused.returncode, silent.returncode) == (1, 1)
    assert "Unsupported method" in refused.stdout
    assert "it does not answer" in silent.stderr


# systemd


@pytest.mark.process
@pytest.mark.parametrize("name", ["chatfeedback.service", "chatfeedback@.service"])
def test_systemd_accepts_unit(name: str, tmp_path: Path) -> None:
    program = f"ExecStart={sys.executable} "
    text = UNIT.replace("ExecStart=/opt/chatfeedback/bin/chatfeedback ", program)
    assert program in text
    (tmp_path / name).write_text(text)
    if systemd := shutil.which("systemd-analyze"):
        verified = subprocess.run([systemd, "verify", tmp_path / name], capture_output=True, text=True)
        assert (verified.returncode, verified.stderr) == (0, "")
    else:  # less, but not nothing: that each line has a key of its own, or is one of those that may come again
        parsed = ConfigParser(interpolation=None, comment_prefixes=("#",), delimiters=("=",))
        parsed.read_string(re.sub("^Environment=.*$", "", text, flags=re.MULTILINE))
        assert parsed.sections() == ["Unit", "Service", "Install"]


@pytest.mark.parametrize(("instance", "port"), [("7862", 7862), ("", Settings.model_fields["port"].default)])
def test_systemd_instance_name_is_its_port(
    instance: str, port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in unit("Environment"):
        name, _, value = variable.partition("=")
        monkeypatch.setenv(name, value.replace("%i", instance))
    assert Settings.load().port == port


def test_systemd_gives_replies_time_to_end_and_restarts_unless_setting_is_wrong() -> None:
    assert float(*unit("TimeoutStopSec")) > longest_end() + 10
    assert unit("KillSignal") + unit("KillMode") == ["SIGTERM", "mixed"]
    assert unit("Restart") + unit("RestartPreventExitStatus") == ["on-failure", "2"]
    assert unit("NoNewPrivileges") + unit("ProtectSystem") + unit("DynamicUser") == ["yes", "strict", "yes"]


@pytest.mark.process
@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_systemd_restarts_server_that_database_refuses_at_start(empty_database_url: str) -> None:
    restored_later = empty_database_url.replace("/test_", "/absent_")
    with served("--database-url", restored_later, "--model", "m", "--base-url", "http://127.0.0.1:9/v1") as server:
        assert server.address == ""
        assert str(server.ended()) not in ["0", *unit("RestartPreventExitStatus")]
        (line,) = server.lines
        assert re.search(r": The database server refused the connection \(.* does not exist\); check user, ", line)
