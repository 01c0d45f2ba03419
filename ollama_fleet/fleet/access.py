"""The access log: a line of the fleet's own log for each request that an instance was to answer.

Made of the records of requests that have ended, some at a time, never while one is served.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, Literal

from ollama_fleet.history import Ending, RequestRecord

RATE_PER_S: Final = 10.0
BURST: Final = 50.0  # after a while without
SLOW_S: Final = 10.0  # to the first byte, whatever it waited for
_MODEL_CHARS: Final = 200  # clients choose what they ask for

log = logging.getLogger(__name__)


class AccessLog:
    """Writes the lines of requests that have ended.

    With `sampled` a bounded rate of those that went well: a line says in `left_out` how many did
    not get theirs since the last one. `clock` gives monotonic seconds.
    """

    def __init__(
        self, mode: Literal["off", "sampled", "all"], *, clock: Callable[[], float]
    ) -> None:
        self._mode = mode
        self._clock = clock
        self._allowance = BURST
        self._counted_s = clock()
        self._left_out = 0

    def write(self, records: Sequence[RequestRecord]) -> None:
        """Log those that are to be, each as of the moment it ended."""
        if self._mode == "off":
            return
        self._allow()
        ordinary = log.isEnabledFor(logging.INFO)
        for record in records:
            if self._allowance < 1 and self._mode != "all" and not is_remarkable(record):
                self._left_out += ordinary  # nearly always, where many come
            elif log.isEnabledFor(level := level_of(record)):
                self._allowance = max(0.0, self._allowance - 1)
                self._log(level, record)

    def _allow(self) -> None:
        now_s = self._clock()
        gained = (now_s - self._counted_s) * RATE_PER_S
        self._allowance = min(BURST, self._allowance + gained)
        self._counted_s = now_s

    def _log(self, level: int, record: RequestRecord) -> None:
        fields = fields_of(record)
        if self._left_out:
            fields["left_out"], self._left_out = self._left_out, 0
        line = log.makeRecord(log.name, level, "", 0, "request", (), None, extra=fields)
        line.created = record.arrived_s + record.total_s
        log.handle(line)


def level_of(record: RequestRecord) -> int:
    """How loud its line is: a client's own mistakes and its leaving are nobody's trouble."""
    failed = record.ending in (Ending.BROKEN, Ending.INCOMPLETE) or record.status >= 500
    return logging.WARNING if failed else logging.INFO


def is_remarkable(record: RequestRecord) -> bool:
    """Whether its line is written whatever the rate: it failed, or its answer was long in coming.

    One that never had an answer has waited for as long as it took.
    """
    return record.ending is not Ending.COMPLETED or (
        (record.first_byte_s or record.total_s) >= SLOW_S
    )


def fields_of(record: RequestRecord) -> dict[str, object]:
    """What a line holds: names, figures (seconds, tokens), how it ended. What is not known is not.

    Never anything of what was asked or answered.
    """
    fields: dict[str, object] = {
        "id": record.id,
        "client": record.client,
        "tenant": record.tenant,
        "method": record.method,
        "route": record.route,
        "model": record.model[:_MODEL_CHARS],
        "instance": record.instance,
        "status": record.status or "",
        "ending": str(record.ending),
        "error": record.error,
        "queue_s": round(record.queue_s, 3),
        "load_s": round(record.load_s, 3),
        "ttft_s": round(record.first_byte_s, 3) if record.first_byte_s else "",
        "total_s": round(record.total_s, 3),
        "prompt_tokens": record.prompt_tokens,
        "output_tokens": record.output_tokens,
        "attempts": record.attempts,
        "failures": ",".join(record.failures),
    }
    return {name: value for name, value in fields.items() if value != ""}
