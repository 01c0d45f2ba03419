"""What has become of a card since it was listed: its MIG mode, and its slices. Pure.

Who slices a card anew does so while nothing computes on it, and asks no fleet. Instances keep what
they were given; nothing follows from it here but that people are told.
"""

from collections.abc import Collection, Iterator
from typing import Final

from ollama_fleet.gpu.nvml.cards import Card
from ollama_fleet.gpu.nvml.slices import Modes

_WAY_OUT: Final = "`fleet down && fleet up` plans with what is there now"


def change(name: str, listed: Card, now: Modes | None, slices: Collection[str]) -> str:
    """How a card is divided now, other than when it was listed, and what to do; "" if as then.

    `slices` are the UUIDs of those it has. One that does not tell its mode is as it was.
    """
    told = "; ".join(_differences(listed, now, slices)) if now else ""
    return f"{name} {told} ({_WAY_OUT})" if told else ""


def _differences(listed: Card, now: Modes, slices: Collection[str]) -> Iterator[str]:
    """Slices that came or went with the mode are not worth a word beside it."""
    if now.now != listed.modes.now:
        yield f"{'is in' if now.now else 'has left'} MIG mode since the fleet was started"
    else:
        before = [each.uuid for each in listed.slices]
        if new := [uuid for uuid in slices if uuid not in before]:
            yield f"has slices that the fleet does not know: {', '.join(new)}"
        if gone := [uuid for uuid in before if uuid not in slices]:
            yield f"lacks slices that the fleet was started with: {', '.join(gone)}"
    if now.next not in (now.now, listed.modes.next):
        yield f"is to {'be in' if now.next else 'leave'} MIG mode after its next reset"


__all__ = ["change"]
