"""A fleet in the background: started apart from this terminal, and waited for until it answers."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ollama_fleet.cli.control import Control
from ollama_fleet.cli.holder import pid_in
from ollama_fleet.cli.table import clean
from ollama_fleet.cli.waiting import Late, until
from ollama_fleet.directories import Directories
from ollama_fleet.errors import Exit, FleetError, NotRunning
from ollama_fleet.system.apart import apart
from ollama_fleet.units import go_duration

START_TIMEOUT_S = 60.0  # a GPU driver that was asleep may take 20
_MAX_LOG_BYTES = 10 * 2**20
_LAST_LINES = 20


class EndedAtOnce(FleetError):
    """The process ended before the fleet served; the reason and the exit code are its own."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.exit_code = Exit(code) if code in set(Exit) else Exit.FAILED


@dataclass(frozen=True, slots=True)
class Background:
    """A fleet that was started; what its process writes begins at `log_start_bytes` of the log."""

    process: "subprocess.Popen[bytes]"
    directories: Directories
    log_start_bytes: int

    def until_it_answers(self, timeout_s: float | None) -> Control:
        """Wait until this very process serves the control API.

        Raises EndedAtOnce with what it died of, and Late after `timeout_s`.
        """
        limit_s = min(START_TIMEOUT_S, timeout_s or START_TIMEOUT_S)
        late = Late(
            f"the fleet (pid {self.process.pid}) does not answer after {go_duration(limit_s)}",
            f"see {self.directories.fleet_log}; `kill {self.process.pid}` ends it",
        )
        for _ in until(limit_s, lambda: late):
            code = self.process.poll()
            if code is not None:
                raise self._ended(code)
            if self._answers():
                break
        return Control(self.directories)

    def _answers(self) -> bool:
        # Another fleet may hold the directory; ours has yet to find out.
        if pid_in(self.directories.lock) != self.process.pid:
            return False
        try:
            Control(self.directories).status()
        except NotRunning:
            return False
        return True

    def _ended(self, code: int) -> EndedAtOnce:
        with self.directories.fleet_log.open("rb") as log:
            if self.log_start_bytes <= os.fstat(log.fileno()).st_size:  # else it was put aside
                log.seek(self.log_start_bytes)
            written = log.read(_MAX_LOG_BYTES).decode(errors="replace").splitlines()
        reason = _last_words(written)
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return EndedAtOnce(reason or f"the fleet ended {how} and said nothing", code)


def start(arguments: Sequence[str], directories: Directories) -> Background:
    """Start `fleet up` with these arguments, apart from this terminal, writing to its log."""
    directories.create()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    log = os.open(directories.fleet_log, flags, 0o600)
    try:
        start_bytes = os.fstat(log).st_size
        process = subprocess.Popen(
            [sys.executable, "-m", "ollama_fleet", "up", "--no-tui", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **apart(),
        )
    finally:
        os.close(log)
    return Background(process, directories, start_bytes)


def _last_words(written: Sequence[str]) -> str:
    """The error a fleet has ended with; else its last lines as they are."""
    told = [line.removeprefix("fleet: ") for line in written if line.startswith("fleet: ")]
    return "\n".join(map(clean, told or written[-_LAST_LINES:]))
