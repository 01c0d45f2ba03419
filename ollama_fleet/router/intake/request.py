"""The request record: all that the router knows of a request on its way to an instance."""

import math

import msgspec

from ollama_fleet.names import canonical, is_cloud
from ollama_fleet.router.body import Body
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake.fields import Wanted
from ollama_fleet.router.intake.standing import Priority, Standing
from ollama_fleet.state import KeepAlive, Profile


class Request(msgspec.Struct, frozen=True, weakref=True):
    """A request on its way to an instance.

    `path` is our own route string, never the client's bytes. `model` is as written, `key` its
    comparison form. `slot` is what its lease counts under: the model's key
    for inference, "" for a call that occupies no slot. `client` names the sender for logs.
    `profile` is what it asks of the runner (num_ctx, ...). `only` are the instances that may be
    given it, where it is not for anyone; `repeatable` is false for what changes a store.
    `tenant`, `priority` and `deadline_s` are its Standing. `prompt_bytes`, `output_cap` (tokens)
    and `prefix` tell how much work it may be, `keep_alive` what becomes of its model; see Wanted.
    """

    method: str
    path: str
    dialect: Dialect
    model: str = ""
    key: str = ""
    slot: str = ""
    stream: bool = False
    body: bytes | Body = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    client: str = ""
    id: str = ""
    profile: Profile = ()
    only: frozenset[str] = frozenset()
    repeatable: bool = True
    tenant: str = ""
    priority: Priority = Priority.NORMAL
    deadline_s: float = math.inf
    prompt_bytes: int = 0
    output_cap: int = 0
    prefix: tuple[int, ...] = ()
    keep_alive: KeepAlive = KeepAlive.UNSAID


def inference(
    path: str,
    dialect: Dialect,
    body: bytes | Body,
    wanted: Wanted,
    *,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    client: str = "",
    request_id: str = "",
    standing: Standing = Standing(),  # noqa: B008 - frozen
) -> Request:
    """The record of an inference request: it takes a slot of the model it names, if it runs one.

    A cloud model runs elsewhere, whichever instance passes the request on.
    Only Ollama's own API knows runner options: others' requests run under the model's defaults.
    """
    key = canonical(wanted.model) if wanted.model.strip() else ""
    is_ollamas = dialect is Dialect.OLLAMA
    return Request(
        method="POST",
        path=path,
        dialect=dialect,
        model=wanted.model,
        key=key,
        slot="" if wanted.unload or is_cloud(key) else key,
        stream=wanted.stream,
        body=body,
        headers=headers,
        client=client,
        id=request_id,
        profile=wanted.profile if is_ollamas else (),
        tenant=standing.tenant,
        priority=standing.priority,
        deadline_s=standing.deadline_s,
        prompt_bytes=wanted.prompt_bytes,
        output_cap=wanted.num_predict if is_ollamas else wanted.max_tokens,
        prefix=wanted.prefix,
        keep_alive=wanted.keep_alive if is_ollamas else KeepAlive.UNSAID,
    )
