"""The systemd service that a process belongs to, by its control group and by what systemd tells."""

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

_USERS_MANAGER: Final = re.compile(r"user@(\d+)\.service")
_FILE: Final = re.compile(r"-?(/.*?)(?: \(ignore_errors=(?:yes|no)\))?")
_ASKED: Final = "MainPID,UnitFileState,Environment,EnvironmentFiles"


@dataclass(frozen=True, slots=True)
class Unit:
    """A service. `manager` is the command for whoever runs it; `ours` if that is this user's own.

    `main_pid` is the process that was started for it and `file_state` whether it starts with the
    machine ("enabled"), 0 and empty if systemd does not tell. `environment` is what its processes
    are given, None where not all of that could be read.
    """

    name: str
    manager: tuple[str, ...]
    ours: bool = False
    main_pid: int = 0
    file_state: str = ""
    environment: Mapping[str, str] | None = None

    def is_of(self, pid: int) -> bool:
        """Whether to end the unit is to end that process, and nothing else with it.

        A server that somebody started in a login or under another keeper is in that one's unit.
        """
        return "ollama" in self.name.lower() or self.main_pid == pid

    @property
    def starts_itself(self) -> bool:
        """Whether it has to be disabled to stay away; so it is where systemd does not tell."""
        return not self.file_state or self.file_state.startswith("enabled")


def unit_in(cgroup: str, user: str, uid: int) -> Unit | None:
    """The service whose control group that is, or is in, of a process of `user`; None if none is.

    A path goes through slices to the unit, below `user@1000.service` through that user's slices.
    Behind the group of a container begin units of another system. `uid` is this user.
    """
    parts = (part for part in cgroup.split("/") if part and not part.endswith(".slice"))
    name = next(parts, "")
    theirs = _USERS_MANAGER.fullmatch(name)
    if theirs:
        name = next(parts, "")
    if not name.endswith(".service") or name.startswith("-"):  # who named it means an option
        return None
    if theirs is None:
        return Unit(name, ("systemctl",))
    if int(theirs[1]) == uid:
        return Unit(name, ("systemctl", "--user"), ours=True)
    return Unit(name, ("systemctl", f"--machine={user}@.host", "--user"))


def ask(unit: Unit, timeout_s: float) -> Unit:
    """The unit with what systemd tells of it to whoever asks. Blocks for up to that time."""
    argv = (*unit.manager, "--no-ask-password", "show", f"--property={_ASKED}", "--", unit.name)
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=True
        )
        return told(unit, done.stdout.decode(errors="replace"))
    return unit


def told(unit: Unit, shown: str) -> Unit:
    """The unit with what `systemctl show` has printed of it; reads its files of variables."""
    lines = [line.partition("=")[::2] for line in shown.splitlines()]
    values = dict(lines)
    environment: dict[str, str] | None = None
    with suppress(KeyError, ValueError, OSError):
        files = [value for name, value in lines if name == "EnvironmentFiles"]
        environment = _environment(values["Environment"], files)
    main_pid = values.get("MainPID", "")
    return replace(
        unit,
        main_pid=int(main_pid) if main_pid.isdecimal() else 0,
        file_state=values.get("UnitFileState", ""),
        environment=environment,
    )


def variables(text: str) -> dict[str, str]:
    """What a file of variables sets, as systemd reads it: `NAME=value`, quoted or not.

    Raises ValueError for quotes that do not end.
    """
    lines = (line.strip() for line in text.splitlines())
    set_ = [line.partition("=") for line in lines if "=" in line and line[0] not in "#;"]
    return {name.strip(): " ".join(shlex.split(value)) for name, _, value in set_}


def _environment(assigned: str, files: Sequence[str]) -> dict[str, str]:
    """What both set, the files last. Raises OSError for one that is there and cannot be read."""
    found = dict(word.partition("=")[::2] for word in shlex.split(assigned))
    for file in filter(None, map(_FILE.fullmatch, files)):
        with suppress(FileNotFoundError):
            found |= variables(Path(file[1]).read_text(errors="replace"))
    return found
