"""How much a fleet made, and how many waited meanwhile, in stretches of a run. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from ollama_fleet.replay.job import Fate


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a run: how many waited for their first token on average, and what was made."""

    waiting: float
    tokens_per_s: float
    requests_per_s: float


def stretches(fates: Sequence[Fate], parts: int) -> list[Stretch]:
    """The time in which these requests arrived, in equal parts; none if they came all at once.

    What ends after the last arrival does not count: then a fleet only finishes what it has. Tokens
    count as spread evenly from a request's first to its last.
    """
    from_s, to_s = min(f.arrived_s for f in fates), max(f.arrived_s for f in fates)
    width_s = (to_s - from_s) / parts
    if width_s <= 0:
        return []
    return [_stretch(fates, from_s + at * width_s, width_s) for at in range(parts)]


def _stretch(fates: Sequence[Fate], begin_s: float, width_s: float) -> Stretch:
    end_s = begin_s + width_s
    waited_s = tokens = ended = 0.0
    for fate in fates:
        if fate.arrived_s < end_s and fate.ended_s > begin_s:
            waited_s += _overlap_s(begin_s, end_s, fate.arrived_s, fate.first_s)
            writing_s = max(fate.ended_s - fate.first_s, 1e-9)
            written_s = _overlap_s(begin_s, end_s, fate.first_s, fate.first_s + writing_s)
            tokens += fate.job.output_tokens * written_s / writing_s
            ended += fate.ended_s <= end_s
    return Stretch(waited_s / width_s, tokens / width_s, ended / width_s)


def _overlap_s(begin_s: float, end_s: float, from_s: float, to_s: float) -> float:
    return max(0.0, min(end_s, to_s) - max(begin_s, from_s))
