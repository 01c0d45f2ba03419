"""Why a request went where it went, in one word. Pure."""

from typing import Final

from ollama_fleet.history import RequestRecord

ONLY_ONE: Final = "only_one"  # nobody else was asked
TIE: Final = "tie"  # others were as good: it was the turn of this one
SCORE: Final = "score"  # the strategy names no terms, or none of them says it
RETRIED: Final = "retried"  # an attempt that was followed by another: its scores are not kept


def reason(record: RequestRecord) -> str:
    """The term in which the chosen instance was furthest ahead of the best of the others.

    It is one of the record's `terms`, as `fleet explain` names them, or a word from above.
    """
    scores = record.scores
    if len(scores) < 2:
        return ONLY_ONE
    chosen, other = _chosen_and_next(record)
    if chosen[0] == other[0]:
        return TIE
    best, ahead = SCORE, 0.0
    for term, ours, theirs in zip(record.terms, chosen[1:], other[1:], strict=False):
        if theirs - ours > ahead:
            best, ahead = term, theirs - ours
    return best


def _chosen_and_next(record: RequestRecord) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The figures of the instance that got it, and those of the best of the others."""
    chosen = other = record.scores[0][1]
    least = float("inf")
    for name, figures in record.scores:
        if name == record.instance:
            chosen = figures
        elif figures[0] < least:
            other, least = figures, figures[0]
    return chosen, other
