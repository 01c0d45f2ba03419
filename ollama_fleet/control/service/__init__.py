"""Ollama servers that run on this machine without us, such as the service its installer sets up."""

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from ollama_fleet.control.service.address import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    ask_version,
    listen_address,
)
from ollama_fleet.control.service.keepers import (
    by_hand,
    is_contained,
    keeper_of,
    seen_within,
    settings_in,
)
from ollama_fleet.control.service.processes import (
    ServerProcess,
    is_running,
    own_cgroup,
    servers,
)
from ollama_fleet.control.service.units import Unit, ask, unit_in

_INSTALLED: Final = {"ollama": "/usr/share/ollama"}  # homes, as the installer makes them
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - they are read, not bound
_SHOWN_APART: Final = frozenset({"OLLAMA_HOST", "OLLAMA_MODELS"})


@dataclass(frozen=True, slots=True)
class Service:
    """A server that someone else started. What could not be found out is empty.

    `host` is where it listens, `managed_by` the systemd unit, container or app that would start it
    again, `stop` the command that ends it for good, `begin` how that is undone. Unless `seen`,
    address and store are only what they would be by default. `settings` are the other OLLAMA_…
    that it was given. A container's `store` lies who knows where: `mounts` is the command that
    tells.
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
    begin: str = by_hand(None)
    settings: tuple[str, ...] = ()
    mounts: str = ""

    @property
    def where(self) -> str:
        """Its address for people, and whether to believe it."""
        return self.base_url if self.seen else f"{self.base_url}, if it listens by default"

    @property
    def base_url(self) -> str:
        """Where this machine reaches its HTTP API.

        Who listens on `::` is reached by IPv4, as Go has it, also where IPv6 is switched off.
        """
        host = DEFAULT_HOST if self.host in _EVERYWHERE else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def find_services(*, ours: Collection[int] = (), timeout_s: float = 1.0) -> tuple[Service, ...]:
    """Every server but those of fleets, and of the processes `ours` and their descendants, by port.

    The one at Ollama's own port comes first: it is the one that a fleet is in the way of.

    Blocks for up to twice `timeout_s` seconds for each that does not tell its version, and whose
    systemd does not answer. Never raises.
    """
    uid = os.getuid() if hasattr(os, "getuid") else -1
    found = [_asked(process, uid, timeout_s) for process in servers(ours)]
    asked = [replace(s, version=ask_version(s.base_url, timeout_s)) for s in found]
    return tuple(sorted(asked, key=lambda s: (s.port != DEFAULT_PORT, s.port, s.pid)))


def describe(process: ServerProcess, unit: Unit | None = None, *, uid: int = -1) -> Service:
    """What a server is, from what may be seen of it and else from how Ollama is installed.

    `unit` is the one in whose control group it is; `uid` this user.
    """
    keeper, contained = keeper_of(process, unit, uid), is_contained(process.cgroup)
    environment = process.environment
    if environment is None and unit is not None and unit.is_of(process.pid):
        environment = unit.environment
    settings = settings_in(environment)
    host, port = min(process.listening, default=listen_address(settings.get("OLLAMA_HOST", "")))
    return Service(
        pid=process.pid,
        user=process.user,
        host=host,
        port=port,
        store="" if contained else _store(process, settings),
        managed_by=keeper.name,
        stop=keeper.stop,
        begin=keeper.begin,
        seen=not contained and (bool(process.listening) or environment is not None),
        settings=tuple(f"{k}={v}" for k, v in settings.items() if k not in _SHOWN_APART),
        mounts=keeper.mounts,
    )


def _asked(process: ServerProcess, uid: int, timeout_s: float) -> Service:
    """What a server is; systemd is asked about its unit."""
    process = replace(process, cgroup=seen_within(process.cgroup, own_cgroup()))
    unit = unit_in(process.cgroup, process.user, uid)
    return describe(process, ask(unit, timeout_s) if unit else None, uid=uid)


def _store(process: ServerProcess, settings: dict[str, str]) -> str:
    """Its model store. The service's user lives in /usr/share/ollama; others in their homes."""
    home = (process.environment or {}).get("HOME") or process.home or _INSTALLED.get(process.user)
    named = settings.get("OLLAMA_MODELS", "").strip().strip("\"'")
    return named or (f"{home}/.ollama/models" if home else "")


__all__ = ["Service", "ask_version", "describe", "find_services", "is_running"]
