"""A drawing of the box: NUMA nodes, the GPUs in them, who has which, and how they are connected.

Pure. Nothing is drawn of a box with one GPU, nor where nothing is known but the GPUs themselves.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from ollama_fleet.cli.table import breadth, clean
from ollama_fleet.gpu import Gpu, GpuKind
from ollama_fleet.numa import show_list
from ollama_fleet.placement.closeness import Nearness, nearness
from ollama_fleet.placement.wiring import NAMES, show_speed, wired
from ollama_fleet.units import show_bytes

if TYPE_CHECKING:
    from ollama_fleet.placement import InstanceSpec

# As `nvidia-smi topo -m` has them, whose PIX and PXB are one here.
_CODES: Final = {
    "nvlink": "NV", "xgmi": "XGMI", "switch": "PIX", "bridge": "PHB", "node": "NODE",
    "socket": "SYS", "": "?",
}  # fmt: skip
_NAME, _MEMORY = 1, 2  # columns: the one that is cut first, and that of figures
_LEAST_NAME: Final = 8  # places that are left to it
_LEAST_WIDTH: Final = 40
_DIRECT: Final = ("nvlink", "xgmi")
_PLAIN: Final = str.maketrans("┌┐└┘─│…", "++++-|~")


def draw(
    gpus: Sequence[Gpu], instances: Iterable["InstanceSpec"], *, width: int, plain: bool = False
) -> str:
    """The box in lines of at most `width` places, 40 at least; `plain` has no lines but ASCII's.

    "" where there is nothing to be seen.
    """
    if len(gpus) < 2 or not any(map(_has_a_place, gpus)):
        return ""
    users: dict[str, list[str]] = {gpu.uuid: [] for gpu in gpus}
    for spec in instances:
        for gpu in spec.gpus:
            users.setdefault(gpu.uuid, []).append(spec.name)
    places = max(width, _LEAST_WIDTH)
    drawing = "\n".join([*_blocks(gpus, users, places), *_links(gpus, places)])
    return drawing.translate(_PLAIN) if plain else drawing


def _has_a_place(gpu: Gpu) -> bool:
    return gpu.numa_node is not None or bool(gpu.links or gpu.parent_uuid)


# -- the NUMA nodes and their GPUs -----------------------------------------------------------------


def _blocks(gpus: Sequence[Gpu], users: Mapping[str, list[str]], width: int) -> Iterator[str]:
    """A block for each NUMA node, side by side as far as they fit."""
    named = len({gpu.name for gpu in gpus}) > 1
    if not named:
        yield _cut(f"{len(gpus)} x {clean(gpus[0].name)}", width)
    cells = [_cells(gpu, users[gpu.uuid], named=named) for gpu in gpus]
    rows = _aligned(_narrowed(cells, width - 4))
    by_node: dict[int | None, list[int]] = {}
    for at, gpu in enumerate(gpus):
        by_node.setdefault(gpu.numa_node, []).append(at)
    nodes = sorted(by_node.items(), key=lambda item: (item[0] is None, item[0]))
    parts = [
        (_title(node, [gpus[at] for at in of], alone=len(nodes) == 1), list(_body(gpus, rows, of)))
        for node, of in nodes
    ]
    longest = max(breadth(line) for title, body in parts for line in (f"{title}  ", *body))
    inner = min(longest, width - 4)
    beside = max(1, (width + 1) // (inner + 5))
    blocks = [_framed(title, body, inner) for title, body in parts]
    for first in range(0, len(blocks), beside):
        yield from _side_by_side(blocks[first : first + beside])


def _cells(gpu: Gpu, users: Sequence[str], *, named: bool) -> tuple[str, ...]:
    kind = "" if gpu.kind in {GpuKind.DISCRETE, GpuKind.SLICE} else gpu.kind.value
    marks = ", ".join(filter(None, [kind, "display" if gpu.display_active else ""]))
    return (
        f"GPU {gpu.index}",
        clean(gpu.name) if named else "",
        show_bytes(gpu.memory_bytes) if gpu.memory_bytes else "shared",
        marks,
        ", ".join(users) or "idle",
    )


def _narrowed(rows: Sequence[Sequence[str]], places: int) -> Sequence[Sequence[str]]:
    """The same with names so short that the other columns have places, as far as that goes."""
    over = max(map(breadth, _aligned(rows))) - places
    if over <= 0:
        return rows
    longest = max(breadth(row[_NAME]) for row in rows)
    most = max(_LEAST_NAME, longest - over)
    return [(*row[:_NAME], _cut(row[_NAME], most), *row[_NAME + 1 :]) for row in rows]


def _cut(text: str, places: int) -> str:
    """A text in so many places; where some of it had to go stands an ellipsis."""
    if breadth(text) <= places:
        return text
    while breadth(text) >= places:
        text = text[:-1]
    return f"{text}…"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells in columns; one in which nobody has anything is left out."""
    columns = [_padded(at, column) for at, column in enumerate(zip(*rows, strict=True))]
    return ["  ".join(row).rstrip() for row in zip(*filter(any, columns), strict=True)]


def _padded(at: int, column: Sequence[str]) -> list[str]:
    width = max(map(breadth, column))
    spaces = [" " * (width - breadth(cell)) for cell in column]
    return [s + c if at == _MEMORY else c + s for c, s in zip(column, spaces, strict=True)]


def _body(gpus: Sequence[Gpu], rows: Sequence[str], places: Sequence[int]) -> Iterator[str]:
    """The lines of a block; slices stand under a line for their card."""
    card = ""
    for at in places:
        parent = gpus[at].parent_uuid
        if parent and parent != card:
            slices = sum(gpu.parent_uuid == parent for gpu in gpus)
            yield f"one card in {slices} slice{'s' if slices > 1 else ''}:"
        card = parent
        yield rows[at]


def _title(node: int | None, gpus: Sequence[Gpu], *, alone: bool) -> str:
    if node is None:
        return "" if alone else "NUMA node not known"
    cpus = sorted({cpu for gpu in gpus for cpu in gpu.cpus})
    return f"NUMA node {node}" + (f", CPUs {show_list(cpus)}" if cpus else "")


def _framed(title: str, body: Sequence[str], inner: int) -> list[str]:
    top = f" {_cut(title, inner - 2)} " if title else ""
    lines = [_cut(line, inner) for line in body]
    return [
        f"┌─{top}{'─' * (inner + 1 - breadth(top))}┐",
        *(f"│ {line}{' ' * (inner - breadth(line))} │" for line in lines),
        f"└{'─' * (inner + 2)}┘",
    ]


def _side_by_side(blocks: Sequence[Sequence[str]]) -> Iterator[str]:
    """Blocks in a row; the lower frame of a short one goes down to that of the longest."""
    height = max(map(len, blocks))
    filled = [
        [*block[:-1], *[f"│{' ' * (breadth(block[0]) - 2)}│"] * (height - len(block)), block[-1]]
        for block in blocks
    ]
    for lines in zip(*filled, strict=True):
        yield " ".join(lines)


# -- the links between GPUs ------------------------------------------------------------------------


def _links(gpus: Sequence[Gpu], width: int) -> Iterator[str]:
    """One line where all are connected alike, else a table of each two, and what its words mean.

    Slices have no part in it: no process sees two of them.
    """
    told = {link.uuid for gpu in gpus for link in gpu.links}
    linked = [g for g in gpus if g.kind is not GpuKind.SLICE and (g.links or g.uuid in told)]
    near = {(a.uuid, b.uuid): nearness(a, b) for a, b in combinations(linked, 2)}
    alike = {(it.kind, it.bandwidth_bytes_per_s) for it in near.values()}
    if len(alike) < 2:
        who = _few(linked) if len(linked) < len(gpus) else "both" if len(linked) == 2 else "all"
        words = wired(linked)
        yield from wrap(f"{who} {words}", width) if words else ()
        return
    speeds = {kind: sorted({s for k, s in alike if k == kind}, reverse=True) for kind, _ in alike}
    cells = {pair: _code(it, speeds) for pair, it in near.items()}
    yield from _table(linked, cells, width)
    yield from wrap("; ".join(_legend(speeds)), width)


def _few(gpus: Sequence[Gpu]) -> str:
    return f"GPUs {show_list(gpu.index for gpu in gpus)}"


def _code(near: Nearness, speeds: Mapping[str, Sequence[int]]) -> str:
    """The word for a link: its speed, where those of its kind have several."""
    if near.kind in _DIRECT and len(speeds[near.kind]) > 1 and near.bandwidth_bytes_per_s:
        return f"{near.bandwidth_bytes_per_s / 1e9:.0f}"
    return _CODES[near.kind]


def _table(gpus: Sequence[Gpu], cells: Mapping[tuple[str, str], str], width: int) -> Iterator[str]:
    """How near each GPU is to those before it: half of a square, for the other half is the same.

    Columns for which the width has no place come in a table below.
    """
    wide = max(map(len, [*cells.values(), *(str(gpu.index) for gpu in gpus)]))
    at_once = (width - len("GPU")) // (wide + 1)
    for first in range(0, len(gpus) - 1, at_once):
        columns = gpus[first : min(first + at_once, len(gpus) - 1)]
        yield "GPU" + "".join(f" {gpu.index:>{wide}}" for gpu in columns)
        for at, gpu in enumerate(gpus[first + 1 :], 1):
            row = (cells[before.uuid, gpu.uuid] for before in columns[:at])
            yield f"{gpu.index:>3}" + "".join(f" {cell:>{wide}}" for cell in row)


def _legend(speeds: Mapping[str, Sequence[int]]) -> Iterator[str]:
    for kind, code in _CODES.items():
        if kind not in speeds:
            continue
        of_kind = speeds[kind]
        if kind in _DIRECT and len(of_kind) > 1:
            numbers = ", ".join(f"{speed / 1e9:.0f}" for speed in of_kind if speed)
            yield f"{numbers} = {NAMES[kind]}, so many GB/s one way"
            yield from [] if of_kind[-1] else [f"{code} = {NAMES[kind]} of unknown speed"]
        elif kind in _DIRECT and of_kind[0]:
            yield f"{code} = {NAMES[kind]}, {show_speed(of_kind[0])} one way"
        else:
            yield f"{code} = {NAMES.get(kind, 'not known')}"
