"""Whether a request that has been read is for its caller: its model, and what it sets. Pure."""

from ollama_fleet.api.auth.bounds import FREE
from ollama_fleet.api.auth.caller import ANYONE, Caller
from ollama_fleet.api.auth.denied import Denied, Why
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Request, Wanted

_SHOWN_CHARS = 200  # of a name that anybody may make up


def require_model(caller: Caller, asked: Request) -> None:
    """Raise Denied for a model that is not for this caller: to it there is none of that name."""
    if caller is not ANYONE and not caller.may_use(asked.key):
        name = asked.model[:_SHOWN_CHARS]
        raise Denied(Why.MODEL, 404, f"model '{name}' not found, or not for this key")


def require_bounds(caller: Caller, wanted: Wanted, dialect: Dialect) -> None:
    """Raise Denied for options that it may not set. No other API than Ollama's own has any."""
    if caller.bounds is FREE:
        return
    objection = caller.bounds.objection(wanted) if dialect is Dialect.OLLAMA else ""
    if objection:
        raise Denied(Why.OPTIONS, 403, objection)
