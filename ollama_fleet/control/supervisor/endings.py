"""Why a process has ended, from its exit code and its last words. Pure."""

import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ollama_fleet.control.launcher import START_OF_LOG

_MISSING, _NOT_EXECUTABLE = 127, 126
_PORT_TAKEN: Final = "address already in use"


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one process of an instance.

    `hopeless`: another start would end the same way. `port_taken`: because someone else listens.
    `log_tail`: its last words.
    """

    cause: str
    hopeless: bool = False
    port_taken: bool = False
    log_tail: tuple[str, ...] = ()


def explain(code: int, lines: Sequence[str], *, program: str, was_up: bool) -> Ending:
    """What an exit means, negative codes being signals, given the end of the log.

    A process that was up has shown that its program and its port are all right.
    """
    words, tail = _own_words(lines), tuple(lines)
    if not was_up and code == _MISSING:
        return Ending(f"{program} was not found", hopeless=True, log_tail=tail)
    if not was_up and code == _NOT_EXECUTABLE:
        why = words[-1].rpartition(": ")[2] if words else "not an executable file"
        return Ending(f"{program} cannot be executed: {why}", hopeless=True, log_tail=tail)
    if not was_up and any(_PORT_TAKEN in line for line in words):
        return Ending("its port is taken", hopeless=True, port_taken=True, log_tail=tail)
    last = f": {words[-1]}" if words and code > 0 else ""
    return Ending(f"{_exit(code)}{last}", log_tail=tail)


def _exit(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    name = f"signal {-code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")


def _own_words(lines: Sequence[str]) -> Sequence[str]:
    """The lines since the last start: an earlier process may have had other troubles."""
    starts = [n for n, line in enumerate(lines) if line.startswith(START_OF_LOG)]
    return [line for line in lines[starts[-1] + 1 if starts else 0 :] if line.strip()]
