"""The control API's commands about models: scripted instances behind a real router."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
import pytest
import uvloop
from made_store import put_model
from router_fixtures import Backend, answer, nothing, routed

from ollama_fleet.api.admin import Admin, Commands
from ollama_fleet.api.admin.models import ModelCommands
from ollama_fleet.control.loads import Loads
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.preloads import Preloads
from ollama_fleet.names import canonical
from ollama_fleet.ollama import Ollama, new_session
from ollama_fleet.state import Phase, ResidentModel

STORES = ("/a", "/b")
OK = answer(200, b"")
LOADED = answer(200, b'{"done":true}')


def run(coroutine):
    async def bounded():
        async with asyncio.timeout(30):
            await coroutine

    uvloop.run(bounded())


def asked(backend):
    return [(*head.split(b" ")[:2], json.loads(body)) for head, body in backend.requests]


class Memory:
    """Which instances hold the model in memory; state learns of it when one looks."""

    def __init__(self):
        self.holding = set()

    async def look(self, instance):
        row = ResidentModel(canonical("m"), "m", 9, 9, "", {"digest": "d"})
        self.state.set_resident(instance, [row] if instance.name in self.holding else [])

    async def hold(self, name):
        """Put it into an instance's memory."""
        self.holding.add(name)
        await self.look(self.state.instances[name])

    def look_again(self, instance):
        raise AssertionError(f"{instance.name}: who asked for this looks itself")


@asynccontextmanager
async def commanded(*backends, folder, refreshed=None, **more):
    """A control socket over those instances, as (status, lines) of a command."""
    memory = Memory()

    async def refresh(store):
        if refreshed is not None:
            refreshed.append(store)

    commands = Commands(**dict.fromkeys(Commands.__slots__, nothing))
    path = folder / "fleet.sock"
    async with routed(*backends, **more) as router, new_session() as upstream:
        state = memory.state = router.state

        def client(instance):
            return Ollama(upstream, instance.spec.base_url)

        loads = Loads(state, client, answer_s=20.0)
        preloads = Preloads(state, loads, client, memory, clock=time.monotonic)
        models = ModelCommands(state, router.relay, Mutations(state, refresh), preloads)
        connector = aiohttp.UnixConnector(str(path))
        async with (
            loads,
            Admin(path, state, commands, models.routes()),
            aiohttp.ClientSession(connector=connector) as session,
        ):

            async def ask(path, **body):
                request = session.post if body else session.get
                async with request(
                    f"http://fleet{path}", **({"json": body} if body else {})
                ) as got:
                    text = await got.text()
                    return got.status, [json.loads(line) for line in text.splitlines()]

            yield SimpleNamespace(ask=ask, state=state, memory=memory)


def test_a_copy_is_made_in_every_store_that_has_the_model(tmp_path):
    """Once in each, through one instance; what was done can be seen when it is told."""
    refreshed = []

    async def check():
        async with (
            Backend(OK) as a,
            Backend(OK) as b,
            Backend(OK) as same,
            commanded(
                a, b, same, folder=tmp_path, refreshed=refreshed, stores=(*STORES, "/a")
            ) as at,
        ):
            status, (document,) = await at.ask("/v1/copy", source="m", destination="n")
            assert status == 200
            assert document["changes"] == [{"store": s, "status": 200, "error": ""} for s in STORES]
            copy = (b"POST", b"/api/copy", {"source": "m", "destination": "n"})
            assert (asked(a), asked(b), asked(same)) == ([copy], [copy], [])
            assert refreshed == list(STORES)

    run(check())


def test_what_lies_in_a_store_is_removed_there_though_no_instance_lists_it(tmp_path):
    """As Ollama does not what lacks its config, nor a store whose instances are not up yet."""
    store = tmp_path / "store"
    put_model(store, "m/latest", b"weights")

    async def check():
        async with (
            Backend(OK) as a,
            Backend(OK) as b,
            commanded(a, b, folder=tmp_path, stores=("/a", str(store))) as at,
        ):
            for instance in at.state.instances.values():
                at.state.set_stored(instance, [])
            status, (document,) = await at.ask("/v1/delete", model="m")
            assert (status, [c["store"] for c in document["changes"]]) == (200, [str(store)])
            assert (asked(a), [line[:2] for line in asked(b)]) == (
                [], [(b"DELETE", b"/api/delete")],
            )  # fmt: skip

    run(check())


@pytest.mark.parametrize("fault", ["refuses", "is lost"])
def test_a_store_that_fails_is_named_and_the_others_are_done(tmp_path, fault):
    async def lost(_backend, _request, writer):
        writer.close()

    script = lost if fault == "is lost" else answer(500, b'{"error":"disk full"}')

    async def check():
        async with (
            Backend(script) as a,
            Backend(OK) as b,
            commanded(a, b, folder=tmp_path, stores=STORES) as at,
        ):
            status, (document,) = await at.ask("/v1/delete", model="m")
            failed, done = document["changes"]
            assert (status, failed["store"], done) == (
                200, "/a", {"store": "/b", "status": 200, "error": ""},
            )  # fmt: skip
            assert failed["status"] >= 500
            assert ("disk full" in failed["error"]) == (fault == "refuses")
            assert failed["error"]
            assert [line[:2] for line in asked(b)] == [(b"DELETE", b"/api/delete")]

    run(check())


def test_a_model_in_memory_is_removed_only_by_force_and_unloaded_first(tmp_path):
    async def check():
        async def unload(backend, request, writer):
            at.memory.holding.clear()
            await LOADED(backend, request, writer)

        async with (
            Backend(OK) as a,
            Backend(unload) as b,
            commanded(a, b, folder=tmp_path) as at,
        ):
            await at.memory.hold("i1")
            status, (refusal,) = await at.ask("/v1/delete", model="m")
            assert (status, refusal["error"]) == (409, "m is in memory of i1")
            assert "--force" in refusal["hint"]
            assert not a.requests
            assert (await at.ask("/v1/delete", model="m", force=True))[0] == 200
            assert asked(b) == [(b"POST", b"/api/generate", {"model": "m", "keep_alive": 0})]
            assert asked(a) == [(b"DELETE", b"/api/delete", {"model": "m"})]

    run(check())


def test_a_model_that_cannot_be_unloaded_is_not_removed(tmp_path):
    """By force, but not by all means."""

    async def check():
        async with (
            Backend(answer(500, b'{"error":"stuck"}')) as backend,
            commanded(backend, folder=tmp_path) as at,
        ):
            await at.memory.hold("i0")
            status, (refusal,) = await at.ask("/v1/delete", model="m", force=True)
            assert (status, refusal["error"]) == (409, "i0: stuck")
            assert [line[0] for line in asked(backend)] == [b"POST"]

    run(check())


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/v1/delete", {"model": "nix"}, "no instance has a model nix"),
        ("/v1/copy", {"source": "nix", "destination": "n"}, "no instance has a model nix"),
        ("/v1/copy", {"source": "m", "destination": "a b"}, "'a b' is not a model name"),
        ("/v1/show", {"model": "nix"}, "no instance has a model nix"),
        ("/v1/load", {"model": "nix"}, "no instance has a model nix"),
        ("/v1/load", {"model": "m", "on": ["x"]}, "no instance or group is called x"),
        ("/v1/unload", {"model": "m", "on": ["x"]}, "no instance or group is called x"),
    ],
)
def test_what_is_not_there_is_refused_and_nobody_is_asked(tmp_path, path, body, told):
    async def check():
        async with Backend(OK) as backend, commanded(backend, folder=tmp_path) as at:
            status, (refusal,) = await at.ask(path, **body)
            assert status == 409
            assert refusal["error"].startswith(told)
            assert not backend.requests

    run(check())


def test_a_store_that_is_someone_elses_is_not_changed(tmp_path):
    async def check():
        async with (
            Backend(OK) as ours,
            Backend(OK) as theirs,
            commanded(ours, theirs, folder=tmp_path, stores=STORES, external={"i1"}) as at,
        ):
            at.state.set_stored(at.state.instances["i0"], [])
            status, (refusal,) = await at.ask("/v1/delete", model="m")
            assert (status, refusal["hint"]) == (409, "it is on i1")
            assert not theirs.requests

    run(check())


def test_while_nobody_is_up_it_is_said_at_once(tmp_path):
    async def check():
        async with Backend(OK) as backend, commanded(backend, folder=tmp_path) as at:
            at.state.set_phase(at.state.instances["i0"], Phase.BACKOFF, 0.0)
            for path in ("/v1/show", "/v1/delete"):
                status, (refusal,) = await at.ask(path, model="m")
                assert (status, refusal["error"]) == (409, "no instance of the fleet is up")

    run(check())


def test_a_model_is_shown_in_the_words_of_an_instance_that_has_it(tmp_path):
    """However long they are and however they are framed."""
    text = {"license": "x" * 300_000, "details": {"family": "llama"}}

    async def chunked(_backend, _request, writer):
        body = json.dumps(text).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 50_000):
            piece = body[at : at + 50_000]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")

    async def check():
        async with (
            Backend(OK) as without,
            Backend(chunked) as backend,
            commanded(without, backend, folder=tmp_path, stores=STORES) as at,
        ):
            at.state.set_stored(at.state.instances["i0"], [])
            status, (document,) = await at.ask("/v1/show", model="m", verbose=True)
            assert (status, document) == (200, {"show": text, "instance": "i1"})
            shown = (b"POST", b"/api/show", {"model": "m", "verbose": True})
            assert (asked(without), asked(backend)) == ([], [shown])

    run(check())


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error":"no"}', "no"),
        (b"[1]", "the instance answered 400, and no more"),
        (b"", "the instance answered 400, and no more"),
    ],
)
def test_an_error_is_told_in_its_own_words_where_it_has_some(tmp_path, body, told):
    async def check():
        async with Backend(answer(400, body)) as backend, commanded(backend, folder=tmp_path) as at:
            refusal = {"error": told, "hint": "", "exit_code": 1}
            assert await at.ask("/v1/show", model="m") == (409, [refusal])

    run(check())


def test_an_answer_that_is_no_object_is_an_error(tmp_path):
    async def check():
        async with Backend(answer(200, b"[]")) as b, commanded(b, folder=tmp_path) as at:
            status, (refusal,) = await at.ask("/v1/show", model="m")
            assert (status, refusal["error"]) == (409, "the instance's answer is no JSON object")

    run(check())


def test_a_load_is_told_of_as_it_goes_and_the_list_shows_it(tmp_path):
    async def check():
        began, go = asyncio.Event(), asyncio.Event()

        async def slow(backend, request, writer):
            began.set()
            await go.wait()
            await LOADED(backend, request, writer)

        async with (
            Backend(slow) as a,
            Backend(answer(500, b'{"error":"out of memory"}')) as b,
            commanded(a, b, folder=tmp_path) as at,
        ):
            loading = asyncio.create_task(at.ask("/v1/load", model="m", on=["i0", "i1"]))
            await began.wait()
            _, (document,) = await at.ask("/v1/models?name=M")
            (model,) = document["models"]
            assert model["places"][0]["presence"] == "loading"
            go.set()
            status, steps = await loading
            last = {step["instance"]: step for step in steps}
            assert (status, len(steps)) == (200, 4)
            assert (last["i0"]["step"], last["i1"]["step"]) == ("loaded", "failed")
            assert "out of memory" in last["i1"]["error"]
            assert (await at.ask("/v1/models?name=z"))[1][0]["models"] == []

    run(check())
