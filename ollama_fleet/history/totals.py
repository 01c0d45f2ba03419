"""What requests come to, added up by who asked, for which model, and where. Pure."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from ollama_fleet.history.selection import BY_TENANT, FAILED, Selection

_J_PER_WH: Final = 3600.0


class By(StrEnum):
    """What totals may be kept apart by."""

    TENANT = "tenant"
    MODEL = "model"
    INSTANCE = "instance"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of some requests; what they are not kept apart by is "".

    `model` is the model's key. `errors` counts those that failed. `energy_wh` is of those
    `measured` alone, and None if there are none: the others ran where nothing tells the power.
    """

    tenant: str = ""
    model: str = ""
    instance: str = ""
    requests: int
    errors: int
    prompt_tokens: int
    output_tokens: int
    gpu_s: float
    energy_wh: float | None
    measured: int


_SUMS: Final = (
    f"count(*), sum({FAILED}), sum(prompt_tokens), sum(output_tokens), sum(gpu_s), "
    "coalesce(sum(energy_j), 0.0), count(energy_j)"
)


def question(wanted: Selection) -> tuple[str, Sequence[object]]:
    """A query for the totals of each tenant, model and instance, and its values.

    In the order of the index and answered from it alone: nothing is sorted, no row is read.
    """
    where, values = wanted.conditions()
    query = (
        f"SELECT tenant, key, instance, {_SUMS} FROM requests INDEXED BY {BY_TENANT} "  # noqa: S608 - our own names; values are bound
        f"WHERE inference = 1 AND {where} GROUP BY tenant, key, instance"
    )
    return query, values


def added_up(rows: Iterable[Sequence[Any]], by: Sequence[By]) -> tuple[Usage, ...]:
    """The rows of the answer, kept apart by no more than is wanted; most GPU-seconds first."""
    totals: dict[tuple[str, ...], list[Any]] = {}
    for row in rows:
        names, figures = dict(zip(By, row, strict=False)), row[len(By) :]
        sums = totals.setdefault(tuple(names[each] for each in by), [0] * len(figures))
        for at, figure in enumerate(figures):
            sums[at] += figure
    found = (
        _usage(dict(zip(map(str, by), names, strict=True)), sums) for names, sums in totals.items()
    )
    return tuple(sorted(found, key=lambda one: (-one.gpu_s, -one.requests)))


def _usage(names: dict[str, str], sums: Sequence[Any]) -> Usage:
    requests, errors, prompt_tokens, output_tokens, gpu_s, energy_j, measured = sums
    return Usage(
        **names,
        requests=requests,
        errors=errors,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        gpu_s=gpu_s,
        energy_wh=energy_j / _J_PER_WH if measured else None,
        measured=measured,
    )
