"""A scrape holds nobody up, and whoever asks is answered with what is true now."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace

import pytest
from fleet_fixtures import fleet

from ollama_fleet.api.auth import Caller, Gate, Models, Role, Terms
from ollama_fleet.api.auth.presented import digest
from ollama_fleet.api.auth.ring import KeyRing
from ollama_fleet.api.guests import Door, Origins
from ollama_fleet.api.watching import Watching
from ollama_fleet.metrics import Disk, Page
from ollama_fleet.state import Health

PIECE_S = 0.0004
DISK = Disk("/models", 1, 2)


class Scrapes:
    """A page of a hundred pieces, each of which takes its time by a made-up clock."""

    def __init__(self):
        self.now_s, self.asked = 0.0, []

    def clock(self):
        return self.now_s

    async def disks(self):
        return (DISK,)

    def page(self, accept, disks):
        self.asked.append((accept, disks))
        return Page("text/plain", self._pieces())

    def _pieces(self):
        for number in range(100):
            self.now_s += PIECE_S
            yield f"{number}\n"


def watching(scrapes, state=None, *, counts=True):
    page = scrapes.page if counts else None
    return Watching(state or fleet("gpu0"), page, scrapes.disks, scrapes.clock)


async def asked(one, target, *, method="GET", keys=False, **headers):
    gate = Gate(Terms(required=keys), clock=float, wall=float)
    some = Caller("m", Role.USER, models=Models.named(["qwen3:*"]))
    callers = {"fleet_a": Caller("a", Role.USER), "fleet_m": some}
    gate.renew(KeyRing(b"s", {digest(b"s", key): caller for key, caller in callers.items()}))
    handle = one.guarded(Door(Origins(), frozenset(("box",))), gate)
    request = SimpleNamespace(method=method, target=target, headers={"Host": "box", **headers})
    request.raw_headers = tuple((n.encode(), v.encode()) for n, v in request.headers.items())
    request.remote = "10.0.0.1"
    return await handle(request)


def test_others_have_their_turn_while_a_page_is_made():
    scrapes, turns = Scrapes(), []

    async def other():
        while True:
            turns.append(scrapes.now_s)
            await asyncio.sleep(0)

    async def check():
        task = asyncio.create_task(other())
        answer = await asked(watching(scrapes), "/metrics")
        task.cancel()
        return answer

    answer = asyncio.run(check())
    assert answer.body.decode().split() == [str(n) for n in range(100)]
    longest = max(b - a for a, b in pairwise(turns))
    assert longest <= 2.5 * PIECE_S


def test_a_scraper_gets_what_it_accepts_and_what_the_disks_have_said():
    scrapes = Scrapes()
    asyncio.run(asked(watching(scrapes), "/metrics?x=1", Accept="application/openmetrics-text"))
    assert scrapes.asked == [("application/openmetrics-text", (DISK,))]


def test_a_fleet_that_counts_nothing_has_no_page():
    one = watching(Scrapes(), counts=False)
    assert asyncio.run(asked(one, "/metrics")).status == 404
    assert asyncio.run(asked(one, "/readyz")).status == 200


def test_ready_is_who_can_serve_and_alive_is_who_answers():
    state = fleet("gpu0")
    one = watching(Scrapes(), state)

    def statuses():
        return [asyncio.run(asked(one, path)).status for path in ("/healthz", "/readyz")]

    assert statuses() == [200, 200]
    state.set_health(state.instances["gpu0"], Health.UNHEALTHY)
    assert statuses() == [200, 503]
    state.set_health(state.instances["gpu0"], Health.HEALTHY)
    assert statuses() == [200, 200]
    state.stopping = True
    assert statuses() == [200, 503]


@pytest.mark.parametrize(
    ("target", "method", "headers", "status"),
    [
        ("/metrics", "HEAD", {}, 200),
        ("/metrics", "POST", {}, 405),
        ("/metrics", "GET", {"Host": "rebound.example"}, 403),
        ("/metrics", "GET", {"Origin": "http://lured.example"}, 403),
        ("/v1/status", "GET", {}, 404),
        ("/", "GET", {}, 404),
    ],
)
def test_over_tcp_only_figures_are_told_and_not_to_lured_pages(target, method, headers, status):
    answer = asyncio.run(asked(watching(Scrapes()), target, method=method, **headers))
    assert answer.status == status


@pytest.mark.parametrize(
    ("target", "key", "status"),
    [
        ("/metrics", "", 401),
        ("/metrics", "Bearer fleet_b", 401),
        ("/metrics", "Bearer fleet_a", 200),
        ("/k/fleet_a/metrics", "", 200),
        ("/metrics", "Bearer fleet_m", 403),
        ("/readyz", "Bearer fleet_m", 200),
        ("/readyz", "", 200),
        ("/healthz", "", 200),
        ("/v1/status", "Bearer fleet_a", 404),
    ],
)
def test_where_keys_are_required_figures_need_one_and_balancers_do_not(target, key, status):
    """One that is for some models will not do: the figures name them all, and all callers."""
    given = {"Authorization": key} if key else {}
    answer = asyncio.run(asked(watching(Scrapes()), target, keys=True, **given))
    assert answer.status == status
