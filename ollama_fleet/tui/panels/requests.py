"""The requests on their way: where each is, what it waits for, and for how long."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from rich.text import Text

from ollama_fleet.state import LiveRequest, Stage
from ollama_fleet.tui.panels.body import Body
from ollama_fleet.tui.panels.fields import fields
from ollama_fleet.tui.panels.table import Cell, Column, Row, table
from ollama_fleet.tui.panels.text import count
from ollama_fleet.tui.panels.view import View
from ollama_fleet.tui.scene import Scene
from ollama_fleet.units import show_bytes, show_duration

_COLUMNS: Final = (
    Column("AGE", right=True),
    Column("STAGE"),
    Column("FOR", 3, right=True),
    Column("TOKENS", 2, right=True),
    Column("TOK/S", 5, right=True),
    Column("INSTANCE", most=16),
    Column("MODEL", 1, most=30),
    Column("TENANT", 4, most=16),
    Column("PROMPT", 6, right=True),
    Column("TRY", 8, right=True),
    Column("CLIENT", 9, most=24),
    Column("ROUTE", 10, most=24),
    Column("ID", 11, grows=True),
)
_STYLES: Final[Mapping[Stage, str]] = MappingProxyType(
    {
        Stage.QUEUE: "yellow",
        Stage.LOAD: "magenta",
        Stage.PREFILL: "cyan",
        Stage.DECODE: "green",
        Stage.PASSING: "dim",
    }
)


def requests(scene: Scene, view: View, room: int | None) -> Body:
    """A line for each, the oldest first."""
    things = {request.id: request for request in scene.live.requests}
    empty = f"no request is on its way; clients find the fleet at {_url(scene)}"
    clean = view.glyphs.clean
    return table(_COLUMNS, things, lambda r: _row(r, clean), view, room, empty=clean(empty))


def detail(scene: Scene, key: str, view: View) -> Sequence[Text]:
    """All that is known of one of them."""
    request = next((r for r in scene.live.requests if r.id == key), None)
    if request is None:
        return [Text(f"request {view.glyphs.clean(key)} has ended; 5 has the decisions", "dim")]
    told = (
        ("request", request.id),
        ("model", request.model),
        ("instance", request.instance or "none yet"),
        ("stage", f"{request.stage} for {show_duration(request.stage_s)}"),
        ("age", show_duration(request.age_s)),
        ("tokens", f"{request.tokens} so far"),
        ("prompt", show_bytes(request.prompt_bytes)),
        ("attempts", str(request.attempts)),
        ("route", request.route),
        ("tenant", request.tenant or "none is named"),
        ("client", request.client),
    )
    return fields(told, view)


def _row(request: LiveRequest, clean: Callable[[str], str]) -> Row:
    rate = _rate(request)
    cells = (
        Cell(show_duration(request.age_s), "", request.age_s),
        Cell(request.stage, _STYLES[request.stage]),
        Cell(show_duration(request.stage_s), "", request.stage_s),
        Cell(count(request.tokens), "", float(request.tokens)),
        Cell("-", "", -1.0) if rate is None else Cell(f"{rate:.0f}", "", rate),
        Cell(clean(request.instance) or "-", "bold" if request.instance else "dim"),
        Cell(clean(request.model).removesuffix(":latest") or "-"),
        Cell(clean(request.tenant) or "-"),
        Cell(show_bytes(request.prompt_bytes), "", float(request.prompt_bytes)),
        Cell(str(request.attempts), "yellow" if request.attempts > 1 else ""),
        Cell(clean(request.client)),
        Cell(clean(request.route)),
        Cell(clean(request.id)),
    )
    return Row(cells, request.instance)


def _url(scene: Scene) -> str:
    listen = scene.snapshot.listen
    return listen if "://" in listen else f"http://{listen}"


def _rate(request: LiveRequest) -> float | None:
    """Tokens per second since its answer began; None before that, and in its first second."""
    decoding = request.stage is Stage.DECODE and request.stage_s >= 1
    return request.tokens / request.stage_s if decoding else None
