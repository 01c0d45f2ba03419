"""`fleet plan --model`: where a model fits, as a table and as a document. Pure."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ollama_fleet.cli.table import Column, clean, table
from ollama_fleet.units import show_bytes

if TYPE_CHECKING:
    from ollama_fleet.placement.fits import Choice, Fit, ModelFits, Wider

_COLUMNS = (
    Column("INSTANCE"),
    Column("GPUS"),
    Column("HOLDS IT", colours={"yes": "green", "no": "red"}),
    Column("WEIGHTS", number=True),
    Column("KV CACHE", number=True),
    Column("OTHER", number=True),
    Column("NEEDS", number=True),
    Column("FREE", number=True),
    Column("SLOTS x LONGEST CONTEXT"),
)


def show(found: "ModelFits") -> str:
    """A table with a line for each instance, and what to do where none holds it."""
    lines = [table(_COLUMNS, [_row(fit) for fit in found.fits])]
    lines += [clean(line) for line in _remarks(found)]
    return f"{clean(found.model)}\n" + "\n".join(lines)


def document(found: "ModelFits") -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "model": found.model,
        "instances": [_fit(fit) for fit in found.fits],
        "wider": _wider(found.wider) if found.wider else None,
    }


def _row(fit: "Fit") -> tuple[object, ...]:
    need, claim = fit.claim.need, fit.claim
    parts: tuple[object, ...] = ("", "", "")
    if need is not None:
        other = need.graph_bytes + need.overhead_bytes
        parts = tuple(map(show_bytes, (need.weights_bytes, need.cache_bytes, other)))
    gpus = ",".join(str(gpu.index) for gpu in fit.gpus) or "cpu"
    free = fit.room_bytes - fit.beside_bytes
    known = claim.total_bytes > 0
    return (
        fit.instance,
        gpus,
        _holds(fit),
        *parts,
        show_bytes(claim.total_bytes) if known else "",
        show_bytes(max(0, free)) if fit.room_bytes != float("inf") else "",
        ", ".join(
            f"{choice.slots} x {choice.context_length}"
            for choice in fit.choices
            if choice.context_length
        ),
    )


def _holds(fit: "Fit") -> str:
    if fit.bound:
        return "bound elsewhere"
    if not fit.claim.total_bytes:
        return "unknown"
    if fit.fits:
        return "yes"
    return "alone" if fit.fits_alone else "no"


def _remarks(found: "ModelFits") -> Iterator[str]:
    claims = {str(fit.claim): fit for fit in found.fits if fit.claim.total_bytes}
    for text, fit in claims.items():
        yield f"with the settings of group {fit.group}: {text}"
    if any(fit.fits_alone and not fit.fits for fit in found.fits):
        yield "alone: it fits where what is loaded there at start makes room for it"
    if not claims:
        yield "how large it is shows when it is pulled"
    elif found.wider:
        yield _show_wider(found.wider)
    elif not any(fit.fits_alone for fit in found.fits):
        yield "no GPUs of this machine hold it, not even all together with one slot of 4096 tokens"


def _show_wider(wider: "Wider") -> str:
    indices = ", ".join(str(gpu.index) for gpu in wider.gpus)
    smaller = "".join(f", `{key}: {_written(value)}`" for key, value in wider.changes.items())
    room = show_bytes(sum(gpu.memory_bytes - gpu.reserved_bytes for gpu in wider.gpus))
    return (
        f"no instance holds it; the fewest GPUs that do are {len(wider.gpus)}: a group with"
        f" `gpus: [{indices}]`{smaller} ({room} for {show_bytes(wider.claim.total_bytes)})"
    )


def _fit(fit: "Fit") -> dict[str, Any]:
    need = fit.claim.need
    finite = fit.room_bytes != float("inf")
    return {
        "instance": fit.instance,
        "group": fit.group,
        "gpus": [gpu.uuid for gpu in fit.gpus],
        "fits": fit.fits if fit.claim.total_bytes else None,
        "fits_alone": fit.fits_alone if fit.claim.total_bytes else None,
        "bound_elsewhere": fit.bound,
        "room_bytes": int(fit.room_bytes) if finite else None,
        "beside_bytes": fit.beside_bytes,
        "needed_bytes": fit.claim.total_bytes or None,
        "weights_bytes": need.weights_bytes if need else None,
        "cache_bytes": need.cache_bytes if need else None,
        "graph_bytes": need.graph_bytes if need else None,
        "overhead_bytes": need.overhead_bytes if need else None,
        "measured": fit.claim.measured._asdict() if fit.claim.measured else None,
        "context_length": need.use.context_length if need else None,
        "slots": need.use.num_parallel if need else None,
        "choices": _choices(fit.choices),
    }


def _choices(choices: "Sequence[Choice]") -> list[dict[str, int]]:
    return [{"slots": each.slots, "context_length": each.context_length} for each in choices]


def _wider(wider: "Wider") -> dict[str, Any]:
    return {
        "gpus": [gpu.uuid for gpu in wider.gpus],
        "needed_bytes": wider.claim.total_bytes,
        "changes": dict(wider.changes),
    }


def _written(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
