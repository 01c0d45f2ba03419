"""Scripted faults: what goes wrong, for whom and how often.

    faults = fault { "|" fault }          fault = kind [ ":" key "=" value { ";" key "=" value } ]

    hang          no further byte after `after_tokens` (0); the connection and the slot stay
    crash         the process dies as by SIGKILL after `after_tokens` (0: when it has a slot)
    runner_death  the model's runner dies after `after_tokens`: Ollama's own error, then an end
    load_failure  the model cannot be loaded: Ollama's own error
    repetition    an answer is stopped after `after_tokens`, as if it repeated itself: without its
                  last record, and without an error
    slow          everything a request does takes `factor` (2) times as long
    busy          503, as if the queue were full
    cpu_fallback  what is loaded goes to the CPU: size_vram 0 and the CPU's speed; without a
                  `model` when the program starts, it finds no GPU at all
    start_failure the program ends with exit code 1 before it listens
    start_delay   `seconds` (1) between listening and the first answer
    ignore_term   SIGTERM and SIGINT do nothing
    cut           the connection ends after `after_tokens` of an answer (0: before its first byte),
                  one in a single piece in its middle: its framing is never complete
    reset         the same with a reset instead of an end
    junk          bytes that are no HTTP come at that place, then an end
    lies          /api/ps and /api/tags tell what is not so, or what is no JSON, or a megabyte
    flood         prints 100 MB/s for `seconds` (1), from when POST /sim/faults sets it

Keys of all kinds: `model` limits a fault to one model, `times` to so many requests. Example:
`hang:after_tokens=5;model=x;times=1 | slow:factor=4`. OLLAMA_SIM_FAULTS sets them at the start,
POST /sim/faults with such a text as its body replaces them while the program runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from ollama_fleet.names import canonical


class FaultKind(Enum):
    """What goes wrong."""

    HANG = "hang"
    CRASH = "crash"
    RUNNER_DEATH = "runner_death"
    LOAD_FAILURE = "load_failure"
    REPETITION = "repetition"
    SLOW = "slow"
    BUSY = "busy"
    CPU_FALLBACK = "cpu_fallback"
    START_FAILURE = "start_failure"
    START_DELAY = "start_delay"
    IGNORE_TERM = "ignore_term"
    CUT = "cut"
    RESET = "reset"
    JUNK = "junk"
    LIES = "lies"
    FLOOD = "flood"


_LASTING = {FaultKind.START_DELAY, FaultKind.FLOOD}


@dataclass(frozen=True, slots=True)
class Fault:
    """One scripted fault. An empty `model` means any, `times` None means always."""

    kind: FaultKind
    model: str = ""
    times: int | None = None
    after_tokens: int = 0
    factor: float = 2.0
    seconds: float = 1.0

    def __str__(self) -> str:
        keys = {
            "model": self.model,
            "times": "" if self.times is None else str(self.times),
            "after_tokens": str(self.after_tokens or ""),
            "factor": f"{self.factor:g}" if self.kind is FaultKind.SLOW else "",
            "seconds": f"{self.seconds:g}" if self.kind in _LASTING else "",
        }
        text = ";".join(f"{key}={value}" for key, value in keys.items() if value)
        return f"{self.kind.value}:{text}" if text else self.kind.value


def parse(text: str) -> tuple[Fault, ...]:
    """Read the grammar above. Raises ValueError with what is wrong."""
    return tuple(_parse_one(part.strip()) for part in text.split("|") if part.strip())


def _parse_one(text: str) -> Fault:
    name, _, rest = text.partition(":")
    try:
        kind = FaultKind(name.strip())
    except ValueError:
        known = ", ".join(kind.value for kind in FaultKind)
        raise ValueError(f"{name!r} is not a fault (known: {known})") from None
    fields: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in rest.split(";"))):
        key, equals, value = pair.partition("=")
        if not equals or key not in {"model", "times", "after_tokens", "factor", "seconds"}:
            raise ValueError(f"{pair!r} in {text!r} is not key=value with a known key")
        fields[key] = value
    try:
        return Fault(
            kind=kind,
            model=fields.get("model", ""),
            times=int(fields["times"]) if "times" in fields else None,
            after_tokens=int(fields.get("after_tokens", "0")),
            factor=float(fields.get("factor", "2")),
            seconds=float(fields.get("seconds", "1")),
        )
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error


class Faults:
    """The faults in force, and how often each has still to strike."""

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self.replace(faults)

    def replace(self, faults: tuple[Fault, ...]) -> None:
        """Forget the old script and begin this one."""
        self._script = faults
        self._left = [fault.times for fault in faults]

    def __str__(self) -> str:
        return " | ".join(str(fault) for fault in self._in_force())

    def standing(self, kind: FaultKind) -> Fault | None:
        """A fault of the program as a whole (no model), if one is in force."""
        return next((f for f in self._in_force() if f.kind is kind and not f.model), None)

    def strike(self, model: str) -> list[Fault]:
        """The faults that hit a request for this model, each counted as used once."""
        key = canonical(model)
        struck = []
        for i, fault in enumerate(self._script):
            left = self._left[i]
            if left == 0 or (fault.model and canonical(fault.model) != key):
                continue
            self._left[i] = None if left is None else left - 1
            struck.append(fault)
        return struck

    def _in_force(self) -> Iterator[Fault]:
        return (f for f, left in zip(self._script, self._left, strict=True) if left != 0)
