"""What was learned, as JSON can hold it, and back. What cannot be read is left out, row by row.

Another version of this program may have written it, or a disk that was full.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from ollama_fleet.estimate.footprints import Footprints
from ollama_fleet.estimate.lengths import Lengths, SavedTable
from ollama_fleet.estimate.limits import Limits, SavedLimit
from ollama_fleet.estimate.loads import Loads, SavedLoad
from ollama_fleet.estimate.pooling import SavedExcess, SavedPace
from ollama_fleet.estimate.site import SavedSite
from ollama_fleet.estimate.speeds import SavedPair, SavedSize, Speeds
from ollama_fleet.estimate.texts import SavedRatio, Texts
from ollama_fleet.vram.measured import Measured

VERSION = 1
Row = TypeVar("Row")


class Figures(NamedTuple):
    """All that is learned."""

    speeds: Speeds
    loads: Loads
    lengths: Lengths
    texts: Texts
    limits: Limits
    footprints: Footprints


def saved(figures: Figures) -> dict[str, Any]:
    """Everything, in lists of named tuples: any JSON encoder takes them."""
    speeds = figures.speeds
    speeds.settle()
    return {
        "version": VERSION,
        "sizes": speeds.saved_sizes(),
        "sites": speeds.saved_sites(),
        "pairs": speeds.saved_pairs(),
        "decoding_paces": speeds.decoding.saved_paces(),
        "decoding": speeds.decoding.saved_excesses(),
        "prefilling_paces": speeds.prefilling.saved_paces(),
        "prefilling": speeds.prefilling.saved_excesses(),
        "loads": figures.loads.saved(),
        "lengths": figures.lengths.saved(),
        "texts": figures.texts.saved(),
        "limits": figures.limits.saved(),
        "footprints": figures.footprints.saved(),
    }


def restore(found: Mapping[str, Any], figures: Figures) -> int:
    """Take up what can be read of it; how many rows could not."""
    if found == {}:
        return 0
    if not isinstance(found, Mapping) or found.get("version") != VERSION:
        return 1
    speeds = figures.speeds
    unread = (
        _rows(found.get("sizes"), SavedSize, speeds.restore_size)
        + _rows(found.get("sites"), SavedSite, speeds.restore_site)
        + _rows(found.get("pairs"), SavedPair, speeds.restore_pair)
        + _rows(found.get("decoding_paces"), SavedPace, speeds.decoding.restore_pace)
        + _rows(found.get("decoding"), SavedExcess, speeds.decoding.restore_excess)
        + _rows(found.get("prefilling_paces"), SavedPace, speeds.prefilling.restore_pace)
        + _rows(found.get("prefilling"), SavedExcess, speeds.prefilling.restore_excess)
        + _rows(found.get("loads"), SavedLoad, figures.loads.restore)
        + _rows(found.get("lengths"), SavedTable, figures.lengths.restore)
        + _rows(found.get("texts"), SavedRatio, figures.texts.restore)
        + _rows(found.get("limits", []), SavedLimit, figures.limits.restore)
        + _rows(found.get("footprints", []), Measured, figures.footprints.restore)
    )
    figures.lengths.settle()
    return unread


def _rows(section: Any, kind: type[Row], take: Callable[[Row], None]) -> int:
    """Hand over each row that is one; how many were not."""
    if not isinstance(section, list):
        return 1
    unread = 0
    for row in section:
        try:
            take(msgspec.convert(row, kind, strict=False))
        except (ValueError, OverflowError):  # msgspec's ValidationError is a ValueError
            unread += 1
    return unread
