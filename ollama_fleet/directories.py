"""Where the fleet keeps things: state, logs and history; and the control socket while it runs."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ollama_fleet.system.door import has_unix_sockets
from ollama_fleet.system.files import user_name

MAX_SOCKET_PATH = 100  # bytes; the kernel's limit for a Unix socket is 108


@dataclass(frozen=True, slots=True)
class Directories:
    """One fleet's places. `FLEET_STATE_DIR` moves all of them: two fleets need two."""

    state: Path
    socket: Path

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> "Directories":
        """By FLEET_STATE_DIR, else by the XDG base directories."""
        home = Path(environ.get("HOME") or Path.home())
        chosen = environ.get("FLEET_STATE_DIR")
        if chosen:
            state = Path(chosen).expanduser().absolute()
            return cls(state, _short(state / "control.sock"))
        state_home = environ.get("XDG_STATE_HOME") or str(home / ".local" / "state")
        state = Path(state_home) / "ollama-fleet"
        runtime = environ.get("XDG_RUNTIME_DIR")
        socket = Path(runtime) / "ollama-fleet.sock" if runtime else state / "control.sock"
        return cls(state, _short(socket))

    @property
    def lock(self) -> Path:
        """Held by the one fleet that uses the state directory; holds its pid."""
        return self.state / "lock"

    @property
    def runs(self) -> Path:
        """A record for each child that may be running."""
        return self.state / "runs"

    @property
    def logs(self) -> Path:
        """The instances' output, and the fleet's own when it runs in the background."""
        return self.state / "logs"

    @property
    def fleet_log(self) -> Path:
        """The fleet's own log when it runs in the background."""
        return self.logs / "fleet.log"

    @property
    def history(self) -> Path:
        """The record of requests."""
        return self.state / "history.db"

    @property
    def learned(self) -> Path:
        """What the fleet has learned of its own speed."""
        return self.state / "learned.json"

    @property
    def keys(self) -> Path:
        """Who may ask for what, unless the configuration names another file."""
        return self.state / "keys.json"

    @property
    def events(self) -> Path:
        """What has happened, over the fleet's restarts."""
        return self.state / "events.jsonl"

    @property
    def locks(self) -> Path:
        """Locks of model stores that this user may not write to."""
        return self.state / "locks"

    @property
    def simulation(self) -> Path:
        """Model store and GPU readings of a simulated fleet."""
        return self.state / "simulation"

    @property
    def ports(self) -> Path:
        """Claims on ports, shared by all fleets of this user, whatever TMPDIR each was given."""
        everybodys = Path("/tmp")  # noqa: S108 - in it a folder for this user alone
        shared = everybodys if has_unix_sockets() else Path(tempfile.gettempdir())
        return shared / f"ollama-fleet-{user_name()}" / "ports"

    def create(self) -> None:
        """Make them, for this user alone."""
        for path in (self.state, self.runs, self.logs, self.socket.parent):
            if not path.is_dir():
                path.mkdir(parents=True, mode=0o700)


def _short(path: Path) -> Path:
    """The path itself, or where it is too long for a Unix socket a short one derived from it."""
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH or not has_unix_sockets():
        return path
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()
    name = Path(f"ollama-fleet-{user_name()}") / digest / "control.sock"
    chosen = Path(tempfile.gettempdir()) / name
    # $TMPDIR can be long itself; /tmp is there on every system that has Unix sockets.
    return chosen if len(os.fsencode(chosen)) <= MAX_SOCKET_PATH else Path("/tmp") / name  # noqa: S108 - made 0700 for this user
