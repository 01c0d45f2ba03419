"""Requests with a wrong key, or none, as events: one for each minute that has many. Pure."""

from collections.abc import Iterator
from typing import Final

from ollama_fleet.api.auth.denied import Why
from ollama_fleet.state import Kind, Notice

MANY: Final = 20  # requests
WINDOW_S: Final = 60.0
_MOST_ADDRESSES: Final = 100  # of each window; beyond that they are many

_KEYS: Final = (Why.NO_KEY, Why.UNKNOWN_KEY, Why.EXPIRED_KEY)


class Knocks:
    """Counts them. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._began_s = 0.0
        self._count = 0
        self._addresses: set[str] = set()

    def knocked(self, why: Why, address: str, now_s: float) -> Iterator[Notice]:
        """One has been refused; whoever lacks anything but a key counts for nothing."""
        if why not in _KEYS:
            return
        if not self._count or now_s - self._began_s >= WINDOW_S:
            self._began_s, self._count = now_s, 0
            self._addresses.clear()
        self._count += 1
        if len(self._addresses) < _MOST_ADDRESSES:
            self._addresses.add(address)
        if self._count == MANY:
            lasted_s = round(now_s - self._began_s, 3)
            figures: dict[str, float | str] = {
                "requests": MANY,
                "addresses": len(self._addresses),
                "lasted_s": lasted_s,
                "last_address": address,
            }
            text = f"{MANY} requests without a valid key within {lasted_s:.0f} s, the last from "
            yield Notice(kind=Kind.KEYS_TRIED, text=text + address, figures=figures)
