"""Clients that hold connections open are sent away in time, and nobody else waits for them."""

import asyncio
import re
import shutil
import subprocess
from contextlib import asynccontextmanager

import pytest
import uvloop

from ollama_fleet.api import bodies
from ollama_fleet.api.bodies import BadBody, Limits, Reading
from ollama_fleet.api.connection import Answer, Bounds, Front
from ollama_fleet.bench.siege import overload
from ollama_fleet.bench.siege.command import report
from ollama_fleet.bench.siege.forces import Forces, Held, Kind
from ollama_fleet.bench.siege.overload import Asked
from ollama_fleet.bench.siege.traffic import Waited, ask, waited

ATTACKS = {Kind.HEAD: 60, Kind.BODY: 30, Kind.ALL: 30}
LIMITS = Limits(2**20, 2.5, rate_bytes_per_s=1000)


@asynccontextmanager
async def served():
    async def handle(request):
        try:
            held = await bodies.read(request, LIMITS, Reading())
        except BadBody as bad:
            return Answer(bad.status, str(bad).encode())
        return Answer(200, held.body)

    bounds = Bounds(header_timeout_s=2.0)
    async with (
        asyncio.timeout(60),
        Front(handle, "127.0.0.1", 0, bounds=bounds, drain_s=1.0) as front,
    ):
        yield front


def test_all_who_besiege_a_front_are_sent_away_and_others_are_served_meanwhile():
    async def failed():
        async with served() as front:
            forces = Forces("127.0.0.1", front.port, pause_s=0.2)
            await forces.come(ATTACKS)
            url = f"http://127.0.0.1:{front.port}/"
            held, others = await asyncio.gather(
                forces.stay(30.0), ask(url, b"{}", per_s=20, seconds=2.0)
            )
            assert {h.kind: h.came for h in held} == ATTACKS
            assert {h.kind: h.closed for h in held} == ATTACKS
            assert others.requests == 40
            while front.crowd.open:
                await asyncio.sleep(0.01)
            return others.failed

    # A machine that stands still for as long as a head may take sends others away, too.
    assert 0 in (uvloop.run(failed()) for _ in range(3))


@pytest.mark.skipif(not shutil.which("slowhttptest"), reason="slowhttptest is not installed")
@pytest.mark.parametrize("attack", [("-H",), ("-B", "-s", "4096")], ids=["heads", "bodies"])
def test_slowhttptest_finds_the_front_there_all_the_time(attack):
    """Its own judgement: the service was available at each of its probes."""

    async def check():
        async with served() as front:
            command = (
                *("slowhttptest", *attack, "-c", "100", "-r", "100", "-i", "1", "-l", "6"),
                *("-p", "20", "-u", f"http://127.0.0.1:{front.port}/"),
            )
            return await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=50, check=False
            )

    told = re.sub(r"\x1b\[[0-9;]*m", "", uvloop.run(check()).stdout)
    probes = re.findall(r"service available:\s+(\w+)", told)
    assert probes
    assert set(probes) == {"YES"}, told[-2000:]
    assert re.search(r"Exit status:\s+(No open connections left|Hit test time limit)", told)


def test_a_siege_holds_if_all_went_in_time_and_nobody_noticed():
    held = (Held(Kind.HEAD, 5, 5, 10.1), Held(Kind.BODY, 5, 5, 30.9), Held(Kind.ALL, 5, 5, 9.0))
    quiet, loud = Waited(100, 0, 1.0, 2.0), Waited(100, 0, 1.0, 4.1)
    assert report(held, quiet, quiet).holds
    assert not report(held, quiet, loud).holds
    assert not report(held, quiet, Waited(100, 1, 1.0, 2.0)).holds
    assert not report((Held(Kind.HEAD, 5, 4, 9.0),), quiet, quiet).holds
    assert not report((Held(Kind.HEAD, 5, 5, 19.0),), quiet, quiet).holds


def test_waiting_is_summed_up_with_those_who_got_nothing():
    assert waited([], 3) == Waited(3, 3, 0.0, 0.0)
    assert waited([n / 1000 for n in range(100)], 101) == Waited(101, 1, 50.0, 99.0)


def asked(status, took_s, count):
    return [Asked(0.0, took_s, status)] * count


def test_an_overload_holds_if_no_work_is_lost_rejects_are_quick_and_the_modest_are_served():
    crowd = asked(200, 3.0, 10) + asked(503, 0.01, 20)
    modest = asked(200, 0.5, 10), asked(200, 1.2, 10)
    assert overload.report(10.0, 9.6, crowd, modest).holds
    assert overload.report(10.0, 9.6, crowd, modest).modest_ratio == 2.4
    assert not overload.report(10.0, 9.4, crowd, modest).holds, "less is done than could be"
    assert not overload.report(10.0, 9.6, asked(503, 0.2, 20), modest).holds, "slow rejects"
    assert not overload.report(10.0, 9.6, asked(200, 3.0, 20), modest).holds, "it was no overload"
    assert not overload.report(10.0, 9.6, [*crowd, *asked(0, 1.0, 1)], modest).holds
    slow, refused = (modest[0], asked(200, 1.6, 10)), (modest[0], asked(503, 0.1, 10))
    assert not overload.report(10.0, 9.6, crowd, slow).holds
    assert not overload.report(10.0, 9.6, crowd, refused).holds
