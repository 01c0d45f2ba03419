"""Ollama servers that run on this machine without us, such as the service its installer sets up."""

import http.client
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path, PurePath, PureWindowsPath
from typing import Final
from urllib.parse import urlsplit

import psutil

_DEFAULT_HOST: Final = "127.0.0.1"
_DEFAULT_PORT: Final = 11434
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MAX_ANSWER_BYTES: Final = 4096
_BY_HAND: Final = "start it again as it was started: ollama serve"
_CONTAINER: Final = re.compile(r"(?:^|[/-])([0-9a-f]{64})(?:\.scope)?$")


@dataclass(frozen=True, slots=True)
class Service:
    """A server that someone else started. What could not be found out is empty.

    `host` is where it listens, `managed_by` the systemd unit, container or app that would start it
    again, `stop` the command that ends it for good, `begin` how that is undone. Unless `seen`,
    address and store are only what they would be by default.
    """

    pid: int
    user: str
    host: str
    port: int
    store: str
    managed_by: str = ""
    stop: str = ""
    version: str = ""
    seen: bool = True
    begin: str = _BY_HAND

    @property
    def where(self) -> str:
        """Its address for people, and whether to believe it."""
        return self.base_url if self.seen else f"{self.base_url}, if it listens by default"

    @property
    def base_url(self) -> str:
        """Where this machine reaches its HTTP API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104 - it is read here, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """An `ollama serve`, as far as this user may look into it.

    `environment` is None and `listening` empty where it is another user's; `cgroup` is the path
    of its control group, `program` that of its executable.
    """

    pid: int
    user: str
    home: str
    environment: Mapping[str, str] | None
    listening: tuple[tuple[str, int], ...]
    cgroup: str
    program: str = ""


def find_services(*, ours: Collection[int] = (), timeout_s: float = 1.0) -> tuple[Service, ...]:
    """Every server but those of fleets, and of the processes `ours` and their descendants, by port.

    The one at Ollama's own port comes first: it is the one that a fleet is in the way of.

    Blocks for up to `timeout_s` seconds for each that does not tell its version. Never raises.
    """
    found = [describe(process) for process in _servers(ours)]
    asked = [replace(s, version=ask_version(s.base_url, timeout_s)) for s in found]
    return tuple(sorted(asked, key=lambda s: (s.port != _DEFAULT_PORT, s.port, s.pid)))


def is_server(argv: Sequence[str]) -> bool:
    """Whether a command line is `ollama serve`, itself or as a script behind its interpreter."""
    return any(
        PurePath(program).name.removesuffix(".exe") == "ollama" and command in {"serve", "start"}
        for program, command in pairwise(argv[:3])
    )


def is_fleet(argv: Sequence[str]) -> bool:
    """Whether a command line is `fleet up`: what that has started it looks after itself."""
    words = argv[:5]
    named = any(PurePath(word).name in {"fleet", "ollama_fleet"} for word in words)
    return named and "up" in words


def describe(process: ServerProcess) -> Service:
    """What a server is, from what may be seen of it and else from how Ollama is installed."""
    environment = process.environment or {}
    host, port = min(process.listening, default=listen_address(environment.get("OLLAMA_HOST", "")))
    managed_by, stop, begin = _manager(process)
    return Service(
        pid=process.pid,
        user=process.user,
        host=host,
        port=port,
        store=_store(process),
        managed_by=managed_by,
        stop=stop,
        begin=begin,
        seen=bool(process.listening) or process.environment is not None,
    )


def listen_address(text: str) -> tuple[str, int]:
    """Host and port in a value of OLLAMA_HOST, as Ollama reads it; its defaults where unset."""
    value = text.strip().strip("\"'").strip()
    scheme, mark, rest = value.partition("://")
    if not mark:
        scheme, rest = "", value
    if rest.count(":") > 1 and "[" not in rest:
        return rest, _DEFAULT_PORT  # a bare IPv6 address
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return _DEFAULT_HOST, _DEFAULT_PORT
    if not rest:
        host = _DEFAULT_HOST
    return host, port if port is not None else _DEFAULT_PORTS.get(scheme, _DEFAULT_PORT)


def ask_version(base_url: str, timeout_s: float) -> str:
    """The version a server gives; empty if it gives none in time.

    The one question to Ollama outside `ollama_fleet.ollama`: it is put before there is a loop.
    """
    with suppress(OSError, ValueError, http.client.HTTPException):
        url = urlsplit(base_url)
        secure = url.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(url.netloc, timeout=timeout_s)
        try:
            connection.request("GET", "/api/version")
            answer = json.loads(connection.getresponse().read(_MAX_ANSWER_BYTES))
        finally:
            connection.close()
        if isinstance(answer, dict) and isinstance(answer.get("version"), str):
            return str(answer["version"])
    return ""


def _store(process: ServerProcess) -> str:
    """Its model store. The service's user lives in /usr/share/ollama; others in their homes."""
    environment = process.environment or {}
    home = environment.get("HOME") or process.home
    if not home and process.user == "ollama":
        home = "/usr/share/ollama"
    return environment.get("OLLAMA_MODELS") or (f"{home}/.ollama/models" if home else "")


def _manager(process: ServerProcess) -> tuple[str, str, str]:
    """The unit or container it runs in, how to end it so that it stays ended, and to undo that."""
    unit = PurePath(process.cgroup).name
    if unit.endswith(".service"):
        theirs = "/user.slice/" in process.cgroup
        command = "systemctl --user" if theirs else "sudo systemctl"
        name = unit.removesuffix(".service")
        return unit, f"{command} disable --now {name}", f"{command} enable --now {name}"
    container = _CONTAINER.search(process.cgroup)
    if container:
        short = container[1][:12]
        return f"container {short}", f"docker stop {short}", f"docker start {short}"
    app = _app(process.program)
    if app is not None:
        return app
    if process.program.endswith(".exe"):
        return "", f"taskkill /f /t /pid {process.pid}", _BY_HAND
    ours = process.environment is not None
    return "", f"kill {process.pid}" if ours else f"sudo kill {process.pid}", _BY_HAND


def _app(program: str) -> tuple[str, str, str] | None:
    """Likewise of the app for macOS or Windows, which starts its server again whenever it ends."""
    if "/Ollama.app/" in program:
        return "Ollama.app", "osascript -e 'quit app \"Ollama\"'", "open -a Ollama"
    path = PureWindowsPath(program)
    if path.parts[-3:-1] == ("Programs", "Ollama"):  # where its installer puts it, for each user
        begin = f'start "" "{path.with_name("ollama app.exe")}"'
        return "the Ollama app", 'taskkill /f /t /im "ollama app.exe"', begin
    return None


# -- the process table -----------------------------------------------------------------------------


def _servers(ours: Collection[int]) -> Iterator[ServerProcess]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it ended while being looked at
            if is_server(process.cmdline()) and not _belongs(process, ours):
                yield _look(process)


def _belongs(process: psutil.Process, ours: Collection[int]) -> bool:
    parents = process.parents()
    if not {process.pid, *(parent.pid for parent in parents)}.isdisjoint(ours):
        return True
    return any(is_fleet(parent.cmdline()) for parent in parents)


def _look(process: psutil.Process) -> ServerProcess:
    environment: dict[str, str] | None = None
    with suppress(psutil.AccessDenied, OSError):
        environment = process.environ()
    listening: list[tuple[str, int]] = []
    with suppress(psutil.AccessDenied, OSError):
        listening = [
            (connection.laddr.ip, connection.laddr.port)
            for connection in process.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
    user = process.username()
    return ServerProcess(
        process.pid,
        user,
        _home(user),
        environment,
        tuple(listening),
        _cgroup(process.pid),
        _program(process),
    )


def _program(process: psutil.Process) -> str:
    with suppress(psutil.AccessDenied, OSError):
        return process.exe()
    return ""


def _home(user: str) -> str:
    with suppress(ImportError, KeyError):  # Windows has no such file of users
        return str(import_module("pwd").getpwnam(user).pw_dir)
    return ""


def _cgroup(pid: int) -> str:
    """The path of a process's control group: of the unified hierarchy, else of systemd's own."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text(errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in {"", "name=systemd"}:
                return path
    return ""
