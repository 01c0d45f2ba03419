"""The proxies that are compared, each a process tree in front of the same backends."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from ollama_fleet.bench.ports import free_port
from ollama_fleet.bench.relay.machine import Cores, pinned
from ollama_fleet.bench.relay.stamps import create_moments
from ollama_fleet.bench.relay.wire import Asked, answer_body, request
from ollama_fleet.bench.relay.workloads import DIRECT, FLEET_LEAST_CONN, ITER_ANY, NGINX

BACKENDS = 3
START_S = 60.0
STOP_S = 10.0

_NGINX = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 100000000;
  upstream backends {{
    least_conn;
{servers}
    keepalive 2048;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://backends;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 1h;
    }}
  }}
}}
"""
_FLEET = """\
listen: 127.0.0.1:{port}
groups: []
instances:
{instances}
"""
_LEAST_CONN = "routing: { strategy: least_conn }\n"


class NotServing(Exception):
    """A program of the bench did not begin to serve; says which, and what it wrote."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Where clients of one row connect, and whose CPU time counts: none's for `direct`."""

    name: str
    ports: tuple[int, ...]
    pid: int | None


@dataclass(frozen=True, slots=True)
class Field:
    """All that is running: the contenders, and the backend behind them.

    `moments` is the file in which that notes when it wrote each record.
    """

    contenders: tuple[Contender, ...]
    backend_pid: int
    moments: Path


@contextmanager
def running(
    proxies: Sequence[str],
    directory: Path,
    cores: Cores,
    more: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Field]:
    """Start the backend and the proxies there are; stop them afterwards. Raises NotServing.

    `more` are lines for the fleet.yaml of proxies that are fleets, by name.
    """
    with ExitStack() as stack:
        backends = tuple(free_port() for _ in range(BACKENDS))
        moments = directory / "moments"
        create_moments(moments)
        module = (sys.executable, "-m", "ollama_fleet.bench.relay.backend")
        backend = Program("backend", (*module, str(moments), *map(str, backends)), directory)
        with pinned(cores.rest):
            stack.enter_context(backend)
        started = []
        for name in proxies:
            port, own = free_port(), directory / name
            own.mkdir()
            command = _command(name, own, port, backends, more.get(name, ""))
            if command is not None:
                program = Program(name, command, own)
                with pinned(cores.proxy):
                    stack.enter_context(program)
                started.append((program, port))
        for port in backends:
            backend.wait(port)
        contenders = [Contender(DIRECT, backends, None)]
        for program, port in started:
            program.wait(port)
            contenders.append(Contender(program.name, (port,), program.pid))
        yield Field(tuple(contenders), backend.pid, moments)


def _command(
    name: str, directory: Path, port: int, backends: Sequence[int], more: str
) -> tuple[str, ...] | None:
    """What starts a contender, its configuration written; None if it is not installed."""
    if name == ITER_ANY:
        module = (sys.executable, "-m", "ollama_fleet.bench.relay.iter_any")
        return (*module, str(port), *map(str, backends))
    if name == NGINX:
        binary = shutil.which("nginx")
        if binary is None:
            return None
        configuration = directory / "nginx.conf"
        configuration.write_text(nginx_conf(directory, port, backends))
        return (binary, "-p", str(directory), "-e", "stderr", "-c", str(configuration))
    configuration = directory / "fleet.yaml"
    written = fleet_yaml(port, backends, least_conn=name == FLEET_LEAST_CONN)
    configuration.write_text(written + more)
    up = ("-m", "ollama_fleet", "up", "--no-tui", "-c", str(configuration))
    return (sys.executable, *up)


def nginx_conf(directory: Path, port: int, backends: Sequence[int]) -> str:
    """Write nginx as one sets it up for streams: no buffering, kept connections, least_conn."""
    servers = "\n".join(f"    server 127.0.0.1:{backend};" for backend in backends)
    return _NGINX.format(directory=directory, port=port, servers=servers)


def fleet_yaml(port: int, backends: Sequence[int], *, least_conn: bool = False) -> str:
    """A fleet of external instances, with slots for every stream; else as it is by default."""
    instances = "\n".join(
        f'  - {{ name: backend-{at}, url: "http://127.0.0.1:{backend}", slots: 4096 }}'
        for at, backend in enumerate(backends)
    )
    return _FLEET.format(port=port, instances=instances) + (_LEAST_CONN if least_conn else "")


class Program:
    """A process of the bench, its output in a file. A context manager: leaving it ends it."""

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        self.name = name
        self._command = command
        self._log = directory / f"{name}.log"
        self._environment = _environment(directory)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Its process number."""
        assert self._process is not None
        return self._process.pid

    def wait(self, port: int) -> None:
        """Wait until a request is answered as it should be. Raises NotServing."""
        assert self._process is not None
        end_s = time.monotonic() + START_S
        while time.monotonic() < end_s and self._process.poll() is None:
            if answers(port):
                return
            time.sleep(0.05)
        raise NotServing(f"{self.name} does not serve: {self._log.read_text()[-2000:]}")


def answers(port: int) -> bool:
    """Whether one whole answer comes from a port."""
    asked = Asked(number=0, tokens=1, per_s=0, stream=False)
    got = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(request(asked))
            while not got.endswith(answer_body(asked)):
                piece = connection.recv(65536)
                if not piece:
                    return False
                got += piece
    except OSError:
        return False
    return got.startswith(b"HTTP/1.1 200")


def _environment(directory: Path) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    return {**kept, "FLEET_STATE_DIR": str(directory / "fleet")}
