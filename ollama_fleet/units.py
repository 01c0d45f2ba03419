"""Durations and sizes as people write them, and back."""

import re

_SECONDS_PER = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_BYTES_PER = {
    "": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40,
}  # fmt: skip
_MAX_DIGITS = 20  # of a size; a larger one is a mistake
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", re.IGNORECASE)


def parse_duration(text: str | float) -> float:
    """Seconds in a Go duration (`90s`, `1h30m`, `1.5h`) or in a bare number of seconds.

    A minus sign is kept: to Ollama a negative keep_alive means for ever.
    Raises ValueError for anything else.
    """
    if isinstance(text, int | float):
        return float(text)
    body = text.strip()
    sign = -1.0 if body.startswith("-") else 1.0
    body = body.lstrip("+-")
    if _NUMBER.fullmatch(body):
        return sign * float(body)
    parts = _DURATION.findall(body)
    if not parts or "".join(n + u for n, u in parts) != body:
        raise ValueError(f"{text!r} is not a duration such as 30s, 10m or 1h30m")
    return sign * sum(float(n) * _SECONDS_PER[u] for n, u in parts)


def parse_size(text: str | int) -> int:
    """Bytes in `24GiB`, `800MB`, `1.5T` or a bare number. Raises ValueError for anything else."""
    if isinstance(text, int):
        return text
    match = _SIZE.fullmatch(text.strip())
    if match is None or len(match[1]) > _MAX_DIGITS:
        raise ValueError(f"{text[:40]!r} is not a size such as 24GiB or 800MB")
    return round(float(match[1]) * _BYTES_PER[(match[2] or "").lower()])


def go_duration(seconds: float) -> str:
    """Seconds as Ollama's environment reads them (`1800s`, `0.25s`); negative means for ever."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def show_bytes(count: float) -> str:
    """A size for people, in binary units: `23.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def show_duration(seconds: float) -> str:
    """A duration for people, two units at most: `3m20s`, `1h05m`, `2d3h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour}h"
    if hours:
        return f"{hours}h{minute:02}m"
    return f"{minutes}m{second:02}s"
