"""Whether a card slows down because it is hot, out of the driver's table of measurements.

The table is binary and comes in versions (`gpu_metrics_v*` in the kernel's kgd_pp_interface.h).
Version 1.3, of Radeon cards since RX 6000 and of Instinct MI200, has a word of reasons that is the
same for all of them; others have none, or one that has a meaning per chip: they tell nothing.
"""

import struct
from pathlib import Path
from typing import Final

from ollama_fleet.gpu import sysfs

_HEAD: Final = struct.Struct("<HBB")  # size of the table, its version
_REASONS: Final = struct.Struct("<Q")
_REASONS_AT: Final = {(1, 3): 112}
_THERMAL: Final = 0xFFFF << 32  # of SMU_THROTTLER_*_BIT in amdgpu_smu.h: 32 to 47 are of heat


class Heat:
    """Reads the tables of cards; one that has no such word is not read again."""

    def __init__(self) -> None:
        self._mute: set[Path] = set()

    def throttles(self, device: Path) -> bool | None:
        """Whether the card slows down for its heat; None where it does not tell."""
        if device in self._mute:
            return None
        table = sysfs.raw(device / "gpu_metrics")
        told = None if table is None else throttled(table)
        if told is None and table:
            self._mute.add(device)
        return told


def throttled(table: bytes) -> bool | None:
    """What a table says; None if it is of another version, or cut short."""
    if len(table) < _HEAD.size:
        return None
    size, major, minor = _HEAD.unpack_from(table)
    at = _REASONS_AT.get((major, minor))
    if at is None or min(size, len(table)) < at + _REASONS.size:
        return None
    (reasons,) = _REASONS.unpack_from(table, at)
    # A field that the firmware does not fill is all ones.
    return None if reasons == (1 << 64) - 1 else bool(reasons & _THERMAL)
