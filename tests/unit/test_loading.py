"""Waiting for loads, and the loads themselves, on virtual time with scripted instances."""

import asyncio
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
from fleet_fixtures import asks, fleet, resident, spec, stored
from msgspec.structs import replace
from virtual_time import now, passes, run

from ollama_fleet.control.loads import ARRIVE_S, Loads, deadline_s
from ollama_fleet.errors import (
    ConnectFailed,
    FirstByteTimeout,
    OllamaError,
    Overloaded,
    UpstreamFailed,
)
from ollama_fleet.names import canonical
from ollama_fleet.router.loading import Loading
from ollama_fleet.state import Phase, StoredModel

M = canonical("m")
LOAD_S = 3.0


class Ollama:
    """An instance that takes LOAD_S for a load, or fails with `error` at its end."""

    def __init__(self):
        self.asked, self.error, self.load_s = [], None, LOAD_S
        self.running = 0

    async def load_by(self, path, name, options, *, timeout_s):
        self.asked.append((path, name, dict(options)))
        self.running += 1
        try:
            await passes(min(self.load_s, timeout_s))
        finally:
            self.running -= 1
        if self.load_s > timeout_s:
            raise OllamaError("no answer") from TimeoutError()
        if self.error is not None:
            raise self.error


class Fleet:
    def __init__(self, *names, slots=4):
        self.state = fleet(*names, slots=slots)
        self.ollama = Ollama()
        self.loading = Loading(self.state, wall=now)
        self.loads = Loads(self.state, lambda _: self.ollama, answer_s=60.0)
        self.instance = self.state.instances[names[0]]

    def lease(self, request):
        return self.state.lease(
            self.instance, request.key, request.profile, slot=bool(request.slot)
        )

    async def ask(self, request=None):
        """What a request does: a lease, the wait; how long that took."""
        request = request or asks()
        with self.lease(request) as lease:
            return await self.loading.ready(lease, request)

    def has(self, profile=()):
        runner = self.instance.runners.get("d-m")
        return runner is not None and runner.has(profile)


@asynccontextmanager
async def a_fleet(*names, **more):
    made = Fleet(*(names or ("a",)), **more)
    async with made.loads:
        yield made
    assert made.ollama.running == 0
    assert not made.loading._waiting


def test_one_load_serves_all_who_wait_for_the_same():
    async def scenario():
        async with a_fleet() as it:
            waits = await asyncio.gather(*(it.ask() for _ in range(4)))
            assert waits == [LOAD_S] * 4
            assert it.ollama.asked == [("/api/generate", "m", {})]
            assert it.has()
            assert await it.ask() == 0.0
            assert len(it.ollama.asked) == 1

    run(scenario())


def test_the_weights_are_read_ahead_while_they_are_loaded():
    """Of the file that the instance loads, from the beginning of its load to its end."""

    async def scenario():
        led = []

        @contextmanager
        def leading(path, _cpus):
            led.append((str(path), now()))
            yield
            led.append((str(path), now()))

        async with a_fleet() as it:
            it.state.set_stored(it.instance, [stored("m", blob="sha256:" + "12ab" * 16)])
            it.loads._leading = leading
            await it.ask()
            blob = "/store/blobs/sha256-" + "12ab" * 16
            assert led == [(blob, 0.0), (blob, LOAD_S)]

    run(scenario())


def test_the_client_that_triggers_a_load_does_not_own_it():
    """Whoever leaves only stops waiting; if all have left, the load runs on to its end."""

    async def scenario():
        async with a_fleet() as it:
            asking = [asyncio.create_task(it.ask()) for _ in range(2)]
            await passes(1)
            asking[0].cancel()
            await passes(1)
            assert not asking[1].done()
            asking[1].cancel()
            with suppress(asyncio.CancelledError):
                await asking[1]
            assert it.instance.in_flight == 0
            assert it.instance.loading
            assert await it.ask() == pytest.approx(1)
            assert len(it.ollama.asked) == 1
            assert it.has()

    run(scenario())


def test_a_load_is_what_the_request_would_have_done():
    """The same runner options, the route of its kind, no keep_alive, the name as it is stored."""

    async def scenario():
        async with a_fleet() as it:
            embed = replace(asks(num_ctx=8192), path="/v1/embeddings")
            await it.ask(embed)
            assert it.ollama.asked == [("/api/embed", "m", {"num_ctx": 8192})]
            assert it.has((("num_ctx", 8192),))
            await it.ask(asks())
            assert it.ollama.asked[1:] == [("/api/generate", "m", {})]

    run(scenario())


def test_nothing_is_loaded_for_what_needs_nothing_or_is_not_known_to_be_there():
    async def scenario():
        async with a_fleet() as it:
            stub = StoredModel(canonical("s"), "s", "d", 1, {"remote_host": "x"})
            it.state.set_stored(it.instance, [*it.instance.stored.values(), stub])
            for request in (asks(slot=False), asks("unknown"), asks("m:cloud"), asks("s")):
                assert await it.ask(request) == 0.0
            assert it.ollama.asked == []

    run(scenario())


def test_where_nobody_loads_nobody_waits():
    async def scenario():
        it = Fleet("a")
        assert await it.ask() == 0.0
        assert not it.loading._waiting

    run(scenario())


def test_a_model_about_to_expire_is_loaded_again_first():
    """It may be gone when the request arrives; not so while somebody uses it."""

    async def scenario():
        async with a_fleet() as it:
            it.state.set_resident(it.instance, [resident("m", expires_s=now() + 10)])
            assert await it.ask() == 0.0
            for used, waits in ((True, 0.0), (False, LOAD_S)):
                it.state.set_resident(it.instance, [resident("m", expires_s=now() + 0.5)])
                held = it.lease(asks()) if used else None
                assert await it.ask() == waits
                if held:
                    held.release()

    run(scenario())


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OllamaError("llama runner process has terminated", 500), UpstreamFailed),
        (OllamaError("server busy", 503), Overloaded),
        (OllamaError("no answer: connection reset"), ConnectFailed),
    ],
)
def test_an_instance_that_cannot_load_fails_all_who_wait_and_the_next_is_a_new_try(error, failure):
    async def scenario():
        async with a_fleet() as it:
            it.ollama.error = error
            asking = [asyncio.create_task(it.ask()) for _ in range(3)]
            for result in await asyncio.gather(*asking, return_exceptions=True):
                assert type(result) is failure
            assert len(it.ollama.asked) == 1
            assert not it.instance.runners
            it.ollama.error = None
            assert await it.ask() == LOAD_S

    run(scenario())


def test_what_is_wrong_with_the_request_is_for_the_instance_to_say():
    """A load that is refused with 4xx lets the request go: it gets its own answer."""

    async def scenario():
        async with a_fleet() as it:
            for status in (400, 404):
                it.ollama.error = OllamaError("no", status)
                assert await it.ask() == LOAD_S
                assert not it.has()

    run(scenario())


def test_a_load_has_a_deadline():
    async def scenario():
        async with a_fleet() as it:
            it.ollama.load_s = 1e4
            with pytest.raises(FirstByteTimeout):
                await it.ask()
            assert now() == pytest.approx(60)
            it.loads.retune(answer_s=10.0)
            with pytest.raises(FirstByteTimeout):
                await it.ask()
            assert now() == pytest.approx(70, abs=1)

    run(scenario())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 60), ("10m", 600), ("30", 60), ("-1s", 60), ("nonsense", 60), ("600s", 600)],
)
def test_a_group_with_large_models_may_take_longer(text, seconds):
    assert deadline_s(spec("a", OLLAMA_LOAD_TIMEOUT=text), 60.0) == seconds


def test_an_instance_that_dies_fails_who_waits_and_its_next_process_loads_anew():
    async def scenario():
        async with a_fleet() as it:
            asking = asyncio.create_task(it.ask())
            await passes(1)
            it.state.set_phase(it.instance, Phase.BACKOFF, now())
            it.ollama.error = OllamaError("no answer: connection reset")
            with pytest.raises(ConnectFailed):
                await asking
            it.ollama.error = None
            it.state.set_phase(it.instance, Phase.READY, now())
            assert await it.ask() == LOAD_S

    run(scenario())


def test_loads_that_end_with_the_fleet_leave_nobody_waiting():
    async def scenario():
        it = Fleet("a")
        async with it.loads:
            asking = asyncio.create_task(it.ask())
            await passes(1)
        with pytest.raises(ConnectFailed):
            await asking
        assert it.state.on_want == []
        assert it.ollama.running == 0

    run(scenario())


def test_another_profile_is_another_load():
    async def scenario():
        async with a_fleet("a", "b") as it:
            b = it.state.instances["b"]
            other = asks(num_ctx=8192)
            with it.state.lease(b, M, other.profile) as lease:
                both = await asyncio.gather(it.ask(), it.loading.ready(lease, other))
            assert both == [LOAD_S, LOAD_S]
            assert [options for _, _, options in it.ollama.asked] == [{}, {"num_ctx": 8192}] or [
                options for _, _, options in it.ollama.asked
            ] == [{"num_ctx": 8192}, {}]

    run(scenario())


def test_an_instance_is_asked_for_its_next_load_when_those_who_waited_for_the_last_are_there():
    """Else nobody uses the model for a moment, and Ollama takes it out of memory again."""

    async def scenario():
        async with a_fleet("a", "b") as it:
            it.state.set_stored(it.instance, [stored("m"), stored("n")])
            sent = []

            async def ask(name):
                await it.ask(asks(name))
                sent.append((name, now()))

            asking = [asyncio.create_task(ask(name)) for name in "mmn"]
            await passes(LOAD_S + ARRIVE_S / 2)
            assert [name for name, _ in sent] == ["m", "m"]
            assert [name for _, name, _ in it.ollama.asked] == ["m"]
            await passes(ARRIVE_S)
            assert [name for _, name, _ in it.ollama.asked] == ["m", "n"]
            await asyncio.gather(*asking)
            assert sent[-1] == ("n", pytest.approx(sent[0][1] + ARRIVE_S + LOAD_S))

    run(scenario())


def test_loads_of_different_instances_do_not_wait_for_one_another():
    async def scenario():
        async with a_fleet("a", "b") as it:
            b = it.state.instances["b"]
            with it.state.lease(b, M) as lease:
                both = await asyncio.gather(it.ask(), it.loading.ready(lease, asks()))
            assert both == [LOAD_S, LOAD_S]

    run(scenario())


def test_a_load_that_fails_makes_way_for_the_next():
    async def scenario():
        async with a_fleet("a") as it:
            it.state.set_stored(it.instance, [stored("m"), stored("n")])
            it.ollama.error = OllamaError("boom", status=500)
            asking = [asyncio.create_task(it.ask(asks(name))) for name in "mn"]
            with pytest.raises(UpstreamFailed):
                await asking[0]
            it.ollama.error = None
            assert await asking[1] > 0

    run(scenario())
