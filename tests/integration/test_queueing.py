"""Who waits, in what order, and what they are told: over real sockets."""

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest
from router_fixtures import Backend, answer, post, routed

from ollama_fleet.api.admin import Admin, Commands

DEADLINE_S = 20.0
BUSY = "server busy, please try again"
ROUTES = ("/api/chat", "/v1/chat/completions", "/v1/responses", "/v1/messages")


async def until(holds):
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.002)


class Gate:
    """A backend's script that answers when it is let."""

    def __init__(self):
        self.open = asyncio.Semaphore(0)

    async def __call__(self, backend, request, writer):
        await self.open.acquire()
        await answer(200, b"{}")(backend, request, writer)


class Scene:
    """One instance with one slot, which a first request holds; the rest come one by one."""

    def __init__(self, router, backend, gate):
        self.router = router
        self.backend = backend
        self.gate = gate
        self.asked = []

    def ask(self, name, path="/api/generate", **headers):
        """Send a request that names itself; a task of (head, body)."""
        extra = b"".join(
            b"%s: %s\r\n" % (n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()
        )
        body = json.dumps({"model": "m", "prompt": name}).encode()
        asked = asyncio.create_task(self.router.exchange(post(path, body, extra=extra)))
        self.asked.append(asked)
        return asked

    async def queue(self, name, **headers):
        """The same, and wait until it waits."""
        before = self.router.state.waiting
        asked = self.ask(name, **headers)
        await until(lambda: self.router.state.waiting == before + 1)
        return asked

    async def served(self):
        """Let everybody through, and say in which order they came to the instance."""
        for _ in self.asked:
            self.gate.open.release()
        await asyncio.gather(*self.asked)
        return [json.loads(body)["prompt"] for _, body in self.backend.requests]


@asynccontextmanager
async def scene(**options):
    gate = Gate()
    async with Backend(gate) as backend, routed(backend, slots=1, **options) as router:
        scene = Scene(router, backend, gate)
        scene.ask("first")
        await backend.arrived.wait()
        yield scene
        await scene.served()


def run(check):
    asyncio.run(check)


def header(answer, name):
    """A header's value; "" if it is not there."""
    head = answer.partition(b"\r\n\r\n")[0].decode()
    lines = (line.partition(": ") for line in head.split("\r\n")[1:])
    return next((value for key, _, value in lines if key == name), "")


def status(answer):
    return int(answer.split()[1])


def told(answer):
    return answer.partition(b"\r\n\r\n")[2].decode()


def test_an_answer_says_how_long_it_waited_in_the_queue_and_only_then():
    async def check():
        async with scene() as at:
            waited = await at.queue("second")
            await until(lambda: any(each.waited_s for each in at.router.admission.waiting()))
            await at.served()
            assert float(header(await waited, "X-Fleet-Queue-Seconds")) > 0
            assert header(await at.asked[0], "X-Fleet-Queue-Seconds") == ""

    run(check())


def test_a_higher_class_starts_before_a_lower_one_that_came_earlier():
    async def check():
        async with scene() as at:
            for name in ("low", "normal", "high"):
                await at.queue(name, x_fleet_priority=name)
            assert await at.served() == ["first", "high", "normal", "low"]

    run(check())


def test_a_tenant_with_one_request_does_not_wait_for_all_of_another():
    async def check():
        async with scene() as at:
            for number in range(4):
                await at.queue(f"heavy{number}", authorization="Bearer heavy")
            await at.queue("light", x_api_key="light")
            order = await at.served()
            assert order.index("light") <= 2
            assert [n for n in order if n != "light"][1:] == [f"heavy{n}" for n in range(4)]

    run(check())


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [("x_fleet_priority", "urgent", "high, normal, low"), ("x_fleet_deadline", "soon", "seconds")],
)
def test_a_header_that_cannot_be_meant_is_answered_400_with_the_way_out(path, name, value, way_out):
    async def check():
        async with scene() as at:
            got = await at.ask("odd", path, **{name: value})
            assert status(got) == 400
            error = json.loads(told(got))["error"]
            assert way_out in (error if path.startswith("/api") else error["message"])
            assert len(at.backend.requests) == 1

    run(check())


@pytest.mark.parametrize("path", ROUTES)
def test_a_tenant_at_its_own_limit_is_answered_429_and_others_are_not(path):
    async def check():
        async with scene(per_tenant=1) as at:
            await at.queue("mine", x_api_key="me")
            got = await at.ask("more", path, x_api_key="me")
            assert status(got) == 429
            assert int(header(got, "Retry-After")) >= 1
            assert "error" in json.loads(told(got))
            await at.queue("yours", x_api_key="you")

    run(check())


def test_in_a_full_queue_the_one_with_most_makes_room_and_hears_ollamas_words():
    async def check():
        async with scene(limit=2) as at:
            await at.queue("heavy1", x_api_key="heavy")
            displaced = await at.queue("heavy2", x_api_key="heavy")
            at.ask("light", x_api_key="light")
            got = await displaced
            assert status(got) == 503
            assert int(header(got, "Retry-After")) >= 1
            assert json.loads(told(got))["error"].startswith(BUSY + ".  maximum pending")
            assert await at.served() == ["first", "heavy1", "light"]

    run(check())


def test_who_cannot_start_within_its_deadline_is_refused_then_and_others_wait_on():
    async def check():
        async with scene() as at:
            patient = await at.queue("patient")
            got = await at.ask("hasty", x_fleet_deadline="0.05")
            assert status(got) == 503
            assert BUSY in told(got)
            assert int(header(got, "Retry-After")) >= 1
            assert not patient.done()
            assert await at.served() == ["first", "patient"]

    run(check())


def test_a_deadline_that_is_known_to_be_hopeless_is_refused_at_once():
    async def check():
        async with scene() as at:
            for number in range(8):
                await at.queue(f"{number}")
            for number in range(6):
                arrived = number + 2
                at.gate.open.release()
                await until(lambda arrived=arrived: len(at.backend.requests) == arrived)
            got = await at.ask("hopeless", x_fleet_deadline="0.000001")
            assert status(got) == 503
            assert "it could not start within its deadline" in told(got)

    run(check())


@asynccontextmanager
async def control_api(router, path):
    """The control API over that router's queue, as (status, document) of a path."""

    def unused(*_):
        raise AssertionError("nobody asks for this")

    others = dict.fromkeys(("snapshot", "pull", "restart", "down"), unused)
    commands = Commands(waiting=router.admission.waiting, **others)
    connector = aiohttp.UnixConnector(str(path))
    async with (
        Admin(path, router.state, commands),
        aiohttp.ClientSession(connector=connector) as session,
    ):

        async def ask(path):
            async with session.get("http://fleet" + path) as got:
                return got.status, await got.json()

        yield ask


def test_who_waits_can_be_looked_up_by_its_id_with_its_place(tmp_path):
    async def check():
        async with scene() as at, control_api(at.router, tmp_path / "fleet.sock") as ask:
            assert await ask("/v1/queue") == (200, {"waiting": []})
            await at.queue("a", x_request_id="one/1")
            await at.queue("b", x_request_id="two", x_fleet_priority="high", x_api_key="k")
            code, everybody = await ask("/v1/queue")
            assert code == 200
            assert [w["id"] for w in everybody["waiting"]] == ["two", "one/1"]
            code, one = await ask("/v1/queue/one/1")
            assert (code, one["position"], one["model"], one["priority"]) == (200, 1, "m", "normal")
            assert one["waited_s"] >= 0
            assert one["expected_s"] is None
            assert (await ask("/v1/queue/nobody"))[0] == 404
            await at.served()
            assert (await ask("/v1/queue/two"))[0] == 404

    run(check())
