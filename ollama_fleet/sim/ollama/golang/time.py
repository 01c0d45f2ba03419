"""Times and durations as Go writes and reads them."""

import re
import time
from typing import Any

from ollama_fleet.units import parse_duration

_KINDS = {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}
_BARE_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")


def rfc3339(ns: int) -> str:
    """A Unix time in nanoseconds as Go marshals it, in UTC, trailing zeros of a second cut."""
    second, rest = divmod(ns, 1_000_000_000)
    if second != _second[0]:
        _second[:] = [second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))]
    fraction = f".{rest:09}".rstrip("0") if rest else ""
    return f"{_second[1]}{fraction}Z"


_second: list[int | str] = [-1, ""]  # the last one written, because streams write it often


def now() -> str:
    """The current time, as in `created_at`."""
    return rfc3339(time.time_ns())


def keep_alive(value: Any) -> float:
    """Seconds of a request's keep_alive, negative for ever. Raises ValueError with Go's text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        raise ValueError(f"Unsupported type: '{_KINDS[type(value)]}'")  # noqa: TRY004  # Go's text
    if _BARE_NUMBER.fullmatch(value) and value.strip("+-") != "0":
        raise ValueError(f'time: missing unit in duration "{value}"')
    try:
        return parse_duration(value)
    except ValueError:
        raise ValueError(f'time: invalid duration "{value}"') from None
