"""Who keeps a server running, how to end it so that it stays ended, and how to undo that. Pure."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Final

from ollama_fleet.control.service.processes import ServerProcess
from ollama_fleet.control.service.units import Unit

_BY_HAND: Final = "start it again as it was started: "
_LAUNCHD: Final = 1
_ROOT: Final = 0
_CONTAINER: Final = re.compile(r"(?P<by>[a-z-]*?)[-/](?:payload-)?(?P<id>[0-9a-f]{64})(?![0-9a-f])")
_MACHINE: Final = re.compile(
    r"/(?:lxc(?:\.payload)?[./]|machine\.slice/(?:machine-|systemd-nspawn@))"
)
_ENGINES: Final = {"docker": "docker", "libpod": "podman"}  # by what begins a group's name
_SHOWN: Final = 12  # digits of a container's id, as its engine shows it


@dataclass(frozen=True, slots=True)
class Keeper:
    """`name` is a systemd unit, a container or an app, and empty where nobody is known.

    `stop` is the command that ends a server for good, empty where nobody knows it; `begin` says
    how that is undone. `mounts` is the command that tells where a container has its models.
    """

    name: str
    stop: str
    begin: str
    mounts: str = ""


def keeper_of(process: ServerProcess, unit: Unit | None, uid: int) -> Keeper:
    """Who keeps a server whose group is that of `unit`, for the user `uid` (-1: not of Unix)."""
    if unit is not None and unit.is_of(process.pid):
        return _unit(unit, uid)
    if is_contained(process.cgroup):
        return _container(process.cgroup)
    return _app(process) or _nobody(process)


def is_contained(cgroup: str) -> bool:
    """Whether a control group is that of a container, whose files and ports are its own."""
    return bool(_CONTAINER.search(cgroup) or _MACHINE.match(cgroup))


def seen_within(cgroup: str, own: str) -> str:
    """A control group as it is called in the container in which `own` is, too; else as it is."""
    found = _CONTAINER.search(cgroup)
    if found is None or found["id"] not in own:
        return cgroup
    return f"/{cgroup[found.end() :].partition('/')[2]}"


def by_hand(environment: Mapping[str, str] | None) -> str:
    """How to start a server again that nobody keeps: with the settings that it was given."""
    given = [f"{name}={shlex.quote(value)}" for name, value in settings_in(environment).items()]
    return _BY_HAND + " ".join([*given, "ollama serve"])


def settings_in(environment: Mapping[str, str] | None) -> dict[str, str]:
    """Ollama's own variables, but for secrets."""
    mine = sorted((environment or {}).items())
    return {k: v for k, v in mine if k.startswith("OLLAMA_") and not k.endswith("_KEY")}


def _unit(unit: Unit, uid: int) -> Keeper:
    rights = () if unit.ours or uid == _ROOT else ("sudo",)
    how = (
        (("disable", "--now"), ("enable", "--now"))
        if unit.starts_itself
        else (("stop",), ("start",))
    )
    name = unit.name.removesuffix(".service")
    stop, begin = (shlex.join((*rights, *unit.manager, *verb, name)) for verb in how)
    return Keeper(unit.name, stop, begin)


def _container(cgroup: str) -> Keeper:
    """One that Kubernetes or an engine unknown to us keeps is not ours to stop: it would return."""
    found = _CONTAINER.search(cgroup)
    engine = _ENGINES.get(found["by"], "") if found else ""
    short = found["id"][:_SHOWN] if found else ""
    name = f"container {short}".rstrip()
    if not engine or "kubepods" in cgroup:
        return Keeper(name, "", "start it by what has started its container")
    mounts = f"{engine} inspect --format '{{{{.Mounts}}}}' {short}"
    return Keeper(name, f"{engine} stop {short}", f"{engine} start {short}", mounts)


def _app(process: ServerProcess) -> Keeper | None:
    """The app for macOS or Windows, or Homebrew's service: each starts its server again."""
    if "/Ollama.app/" in process.program:
        return Keeper("Ollama.app", "osascript -e 'quit app \"Ollama\"'", "open -a Ollama")
    if "/Cellar/ollama/" in process.program and process.ppid == _LAUNCHD:
        rights = "" if process.environment is not None else "sudo "
        brew = f"{rights}brew services"
        return Keeper("Homebrew", f"{brew} stop ollama", f"{brew} start ollama")
    path = PureWindowsPath(process.program)
    if path.parts[-3:-1] == ("Programs", "Ollama"):  # where its installer puts it, for each user
        begin = f'start "" "{path.with_name("ollama app.exe")}"'
        return Keeper("the Ollama app", 'taskkill /f /t /im "ollama app.exe"', begin)
    return None


def _nobody(process: ServerProcess) -> Keeper:
    begin = by_hand(process.environment)
    if process.program.endswith(".exe"):
        return Keeper("", f"taskkill /f /t /pid {process.pid}", begin)
    rights = "" if process.environment is not None else "sudo "
    return Keeper("", f"{rights}kill {process.pid}", begin)
