"""What the messages of every dialect come down to: turns, the prompt made of them, a request."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ollama_fleet.sim.ollama.api.plan import Ask
from ollama_fleet.sim.ollama.api.schemas import PARAMETERS
from ollama_fleet.sim.ollama.api.service import ApiError
from ollama_fleet.sim.ollama.calls import Tool, spoken
from ollama_fleet.sim.ollama.golang.binding import NO_OBJECT, BindingError, bind, plain
from ollama_fleet.sim.ollama.golang.json import (
    EmptyBodyError,
    SyntaxProblemError,
    decode,
    encode,
)

Turn = tuple[str, str]  # who says it (system, user, assistant, tool), and what


def chat(model: str, turns: Sequence[Turn], tools: Sequence[Tool] = (), **more: Any) -> Ask:
    """The request for a conversation's next turn; one without turns only loads. `more`: of Ask."""
    role, said = turns[-1] if turns else ("", "")
    return Ask(
        model=model,
        text=render(turns, tools) if turns else None,
        does="chat",
        tools=tuple(tools),
        asked=said if role == "user" else "",
        **more,
    )


def render(turns: Sequence[Turn], tools: Sequence[Tool] = ()) -> str:
    """The prompt of a conversation, with the simulated models' template."""
    described = [{"name": tool.name, "parameters": tool.parameters} for tool in tools]
    system = [("tools", encode(described).decode())] if described else []
    lines = [f"[{role}] {said}\n" for role, said in (*system, *turns) if said]
    return "".join([*lines, "[assistant] "])


def with_calls(text: str, calls: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """A turn of the assistant that called tools, by their names and arguments."""
    return text + "".join(spoken(name, given) for name, given in calls)


def functions(tools: Iterable[Mapping[str, Any]]) -> tuple[Tool, ...]:
    """The tools of a request that describes each under `function`."""
    described = (tool.get("function", {}) for tool in tools)
    return tuple(Tool(f.get("name", ""), f.get("parameters", {})) for f in described)


def tool(name: str, schema: Any, problem: str) -> Tool:
    """A tool of a dialect that reads schemas apart from the body. Raises ApiError 400."""
    try:
        return Tool(name, bind(schema, PARAMETERS))
    except BindingError as error:
        raise ApiError(400, f"{problem}: {error}", early=True) from None


def earlier_arguments(text: str) -> dict[str, Any]:
    """The arguments of an earlier call, given as text. Raises BindingError."""
    try:
        given = plain(decode(text.encode(errors="replace")))
    except EmptyBodyError:
        raise BindingError(CUT) from None
    except SyntaxProblemError as error:
        raise BindingError(CUT if str(error) == "unexpected EOF" else str(error)) from None
    if not isinstance(given, dict | None):
        raise BindingError(NO_OBJECT)
    return given or {}


CUT = "unexpected end of JSON input"
