"""A fleet for the length of a demo, with a state directory and a port of its own."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from ollama_fleet.bench.demo.stage import Stage
from ollama_fleet.bench.ports import free_port
from ollama_fleet.control.processes import Process, all_processes, environment_of, send
from ollama_fleet.errors import Exit, FleetError

_START_TIMEOUT = "120s"
_STOP_TIMEOUT_S = 60.0
_STOP_TRIES = 3  # once `fleet up` has returned
_RETRY_S = 0.3
_GRACE_S = 2.0  # for processes that are ending
_OURS = ("FLEET_STATE_DIR=", "OLLAMA_MODELS=")  # of what a fleet is started with, and an instance


class TemporaryFleet:
    """Runs from `__enter__` to `__exit__`, whatever happens between; driven as a user would.

    Entering raises FleetError, with the exit code of `fleet up`, if an instance does not come up.
    Configuration files and FLEET_* variables of the user do not count. A `quiet` one says nothing
    of its start but what is wrong with it.
    """

    def __init__(self, stage: Stage, environ: Mapping[str, str], *, quiet: bool = False) -> None:
        self._stage = stage
        self._quiet = quiet
        self._environ = {
            **{name: text for name, text in environ.items() if not name.startswith("FLEET_")},
            **stage.environ,
        }
        self._directory = ""
        self._up: subprocess.Popen[bytes] | None = None
        self.left: tuple[Process, ...] = ()  # what had to be killed after `fleet down`
        self.url = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def command(self, *arguments: str) -> Sequence[str]:
        """The command line of `fleet`."""
        return (sys.executable, "-m", "ollama_fleet", *arguments)

    @property
    def simulated(self) -> bool:
        """It runs on simulated GPUs, with simulated models."""
        return bool(self._stage.simulate)

    @property
    def environ(self) -> Mapping[str, str]:
        """What `fleet` must be started with to find this fleet."""
        return self._environ

    @property
    def directory(self) -> str:
        """Where `fleet` must be started, so that no fleet.yaml is found."""
        return self._directory

    def run(self, *arguments: str) -> int:
        """Run `fleet` with what it prints on stderr. Returns its exit code."""
        return self._begin(arguments).wait()

    def status(self) -> dict[str, Any]:
        """The snapshot as JSON."""
        done = subprocess.run(
            self.command("status", "-o", "json"),
            cwd=self._directory,
            env=self._environ,
            stdout=subprocess.PIPE,
            check=False,
        )
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def stop(self) -> None:
        """Stop the fleet, also one that is still starting, and leave nothing behind.

        One that has not come so far that it could be told to stop is killed.
        """
        deadline_s = time.monotonic() + _STOP_TIMEOUT_S
        tries = _STOP_TRIES
        with _signals_held():
            while self._up is not None and tries and time.monotonic() < deadline_s:
                ended = self._up.poll() is not None
                tries -= ended
                down = self._begin(["down", "--now"], start_new_session=True, quiet=True)
                code = down.wait()
                if code == Exit.OK or (ended and code == Exit.NOT_RUNNING):
                    break
                time.sleep(_RETRY_S)  # it is not there yet, but will be
            self.left = self._after(_GRACE_S)
            for process in self.left:
                send(process, signal.SIGKILL)
            self._after(_STOP_TIMEOUT_S)
            shutil.rmtree(self._directory, ignore_errors=True)

    def _after(self, grace_s: float) -> tuple[Process, ...]:
        """Who still lives then; return as soon as nobody does."""
        deadline_s = time.monotonic() + grace_s
        while (left := self._processes()) and time.monotonic() < deadline_s:
            time.sleep(_RETRY_S)
        return left

    def _processes(self) -> tuple[Process, ...]:
        """Those that live of the fleet, of its instances and of commands to it."""
        if not self._directory:
            return ()
        ours = tuple(name + self._directory for name in _OURS)
        return tuple(
            process
            for process in all_processes()
            if process.alive
            and any(entry.startswith(ours) for entry in environment_of(process.pid))
        )

    def _start(self) -> None:
        arguments = ["up", "-d", "--wait", "--wait-timeout", _START_TIMEOUT]
        arguments += ["--listen", self.url.removeprefix("http://")]
        if self._quiet:
            arguments.append("--quiet")
        if self._stage.simulate:
            arguments += ["--simulate", self._stage.simulate]
        with _signals_held():
            self._directory = tempfile.mkdtemp(prefix="fleet-demo-")
            self._environ["FLEET_STATE_DIR"] = self._directory
            self._environ["XDG_CONFIG_HOME"] = self._directory
            self._up = self._begin(arguments, start_new_session=True)
        code = self._up.wait()
        if code:
            raise _NoFleet("the demo's fleet did not start", code)

    def _begin(
        self, arguments: Sequence[str], *, start_new_session: bool = False, quiet: bool = False
    ) -> "subprocess.Popen[bytes]":
        """Start `fleet`; in a session of its own it is out of reach of Ctrl-C."""
        output = subprocess.DEVNULL if quiet else sys.stderr.fileno()
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self._directory,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=start_new_session,
        )


class _NoFleet(FleetError):
    """`fleet up` failed, and has said why."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.exit_code = Exit(code) if code in set(Exit) else Exit.FAILED


@contextmanager
def _signals_held() -> Iterator[None]:
    """Signals that would end the program act once the block is over, not in its middle."""
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
