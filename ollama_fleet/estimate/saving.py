"""What was learned, as JSON can hold it, and back. What cannot be read is left out, row by row.

Another version of this program may have written it, or a disk that was full.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from ollama_fleet.estimate.lengths import Lengths, SavedTable
from ollama_fleet.estimate.loads import Loads, SavedLoad
from ollama_fleet.estimate.pooling import SavedExcess, SavedPace
from ollama_fleet.estimate.site import SavedSite
from ollama_fleet.estimate.speeds import SavedPair, SavedSize, Speeds
from ollama_fleet.estimate.texts import SavedRatio, Texts

VERSION = 1
Row = TypeVar("Row")


def saved(speeds: Speeds, loads: Loads, lengths: Lengths, texts: Texts) -> dict[str, Any]:
    """Everything, in lists of named tuples: any JSON encoder takes them."""
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
        "loads": loads.saved(),
        "lengths": lengths.saved(),
        "texts": texts.saved(),
    }


def restore(
    found: Mapping[str, Any], speeds: Speeds, loads: Loads, lengths: Lengths, texts: Texts
) -> int:
    """Take up what can be read of it; how many rows could not."""
    if found == {}:
        return 0
    if not isinstance(found, Mapping) or found.get("version") != VERSION:
        return 1
    unread = (
        _rows(found.get("sizes"), SavedSize, speeds.restore_size)
        + _rows(found.get("sites"), SavedSite, speeds.restore_site)
        + _rows(found.get("pairs"), SavedPair, speeds.restore_pair)
        + _rows(found.get("decoding_paces"), SavedPace, speeds.decoding.restore_pace)
        + _rows(found.get("decoding"), SavedExcess, speeds.decoding.restore_excess)
        + _rows(found.get("prefilling_paces"), SavedPace, speeds.prefilling.restore_pace)
        + _rows(found.get("prefilling"), SavedExcess, speeds.prefilling.restore_excess)
        + _rows(found.get("loads"), SavedLoad, loads.restore)
        + _rows(found.get("lengths"), SavedTable, lengths.restore)
        + _rows(found.get("texts"), SavedRatio, texts.restore)
    )
    lengths.settle()
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
