"""A study on real processes: simulated Ollamas behind a fleet, as `fleet bench routing` runs it."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace

import psutil
import pytest
from fleet_process import until

from ollama_fleet import history
from ollama_fleet.bench.processes import fleets, real, troubles
from ollama_fleet.bench.processes.cases import case, layout_of
from ollama_fleet.bench.processes.contenders import AS_IT_IS, contender
from ollama_fleet.bench.processes.figures import standings
from ollama_fleet.bench.processes.prompts import Route, request
from ollama_fleet.bench.processes.study import Scale, played, turns

REQUESTS = 30
SCALE = Scale(requests=REQUESTS, seeds=1, time_scale=50.0)
SIMULATED = {"time_scale": SCALE.time_scale, "environ": os.environ}
BOX = "2x24GB"
GRAIN_S = 0.01  # the fleet's clocks, that of the wall and the other, are not read in one moment
MODEL = "llama3.1:8b"


def small(family):
    """A case on two nodes; requests come as fast as is usual on four."""
    one = case(family)
    return replace(one, box=BOX, layout=layout_of(BOX).warm(MODEL))


@contextmanager
def opened(one, who, **simulated):
    """A fleet, once its logs have told of the loads with which it has begun."""
    with fleets.simulated(one, who, **simulated) as served:
        until(lambda: served.loads() == 2, what="the word of two loads")
        yield served


def watched(seen, requests=REQUESTS, **simulated):
    """Opens fleets, and keeps for each run what was asked of it."""

    @contextmanager
    def opening(one, who):
        with opened(one, who, **(simulated or SIMULATED)) as served:
            before = served.loads()
            yield served
            until(lambda: len(records(served)) >= requests, what="the history of all requests")
            seen.append((before, records(served)))

    return opening


def records(served):
    return [r for r in history.recent(served.directories.history, 1000) if r.inference]


def body_bytes(job):
    return len(request(job, Route.CHAT, simulated=True).partition(b"\r\n\r\n")[2])


@pytest.mark.timeout(240)
def test_each_strategy_gets_the_same_requests_and_none_is_lost():
    """By the router's records of what came in, and the client's check of every answer's tokens."""
    seen = []
    one = small("poisson")
    found = list(played(turns([one], 1, ["adaptive", "least_conn"]), SCALE, watched(seen)))
    asked = sorted((MODEL, Route.CHAT.value, body_bytes(job)) for job in one.jobs(1, REQUESTS))
    assert [each.measured.outcome.loads for each in found] == [0, 0]
    for loaded_before, own in seen:
        assert loaded_before == 2  # the preload of either node
        assert sorted((r.model, r.route, r.request_bytes) for r in own) == asked
    for each in found:
        assert [f.refused for f in each.measured.outcome.fates] == [""] * REQUESTS
        assert {f.instance for f in each.measured.outcome.fates} == {"gpu-0", "gpu-1"}
    rows = standings(found, SCALE, judge=False)
    assert [(s.row.strategy, s.row.figures["lost"]) for s in rows] == [
        ("adaptive", 0),
        ("least_conn", 0),
    ]


def troubled(family):
    """What became of sixty requests, the trouble that gpu-0 had meanwhile, the fleet's records."""
    seen = []
    scale = replace(SCALE, requests=60, time_scale=20.0)
    simulated = {"time_scale": scale.time_scale, "environ": os.environ}
    opening = watched(seen, scale.requests, **simulated)
    one = small(family)
    (each,) = played(turns([one], 1, ["adaptive"]), scale, opening)
    (trouble,) = one.troubles(60)
    assert [f.refused for f in each.measured.outcome.fates] == [""] * 60
    ((_, told),) = seen
    return each.measured.outcome, trouble, told


@pytest.mark.timeout(240)
def test_a_fleet_that_runs_already_is_asked_as_it_is():
    """It is neither started nor stopped, nothing is known of its loads, and there is no replay."""
    asked = real.Asked(MODEL, 40.0, "constant", shorter=4.0)
    with fleets.simulated(small("constant"), contender("round_robin"), **SIMULATED) as served:
        opening = real.at_url(f"http://{served.host}:{served.port}")
        one = real.case(asked, [AS_IT_IS])
        (each,) = played(turns([one], 1), replace(SCALE, time_scale=1.0), opening)
        shares = Counter(f.instance for f in each.measured.outcome.fates)
        assert shares == {"gpu-0": REQUESTS // 2, "gpu-1": REQUESTS // 2}
        assert served.pid()
    assert (each.replayed, each.measured.outcome.loads) == (None, 0)


def seen_within(turns, holds):
    """Whether it holds once: trouble comes twenty times as fast as in life, to a busy machine late.

    That no request is lost is asserted of each turn.
    """
    return any(holds() for _ in range(turns))


@pytest.mark.timeout(240)
def test_a_node_that_dies_loses_nothing_that_is_not_streamed():
    """It is away for as long as it is to be, and has loaded its model when it is back."""

    def away():
        outcome, lost, _ = troubled("killed")
        own = [f for f in outcome.fates if f.instance == "gpu-0"]
        back = [f for f in own if f.arrived_s > lost.to_s]
        once = outcome.loads == 1 or not back  # a slow machine may have it back too late
        gone_s = (lost.from_s + lost.to_s) / 2  # and may be late to kill it
        return once and not [f for f in own if gone_s < f.ended_s < lost.to_s]

    assert seen_within(5, away)


@pytest.fixture
def told(monkeypatch):
    """Notes when an instance is told to be slow, and no longer: from when, and until when."""
    noted, tell = [], troubles._set_faults

    async def note(url, script):
        from_s = time.time()
        await tell(url, script)
        noted.append((from_s, time.time()))

    monkeypatch.setattr(troubles, "_set_faults", note)
    return noted


@pytest.mark.timeout(240)
def test_a_node_that_is_slowed_is_slow_for_that_long(told):
    """By the times that the simulation tells, which no machine makes longer."""

    def slow():
        told.clear()
        outcome, _, records = troubled("slowed")
        (slows_s, slowed_s), (ends_s, ended_s) = told
        own = [r for r in records if r.instance == "gpu-0" and r.output_tokens > 1]
        tokens_s = [r.reported_decode_s / (r.output_tokens - 1) for r in own]
        are_slow = [token_s > 2.5 * min(tokens_s) for token_s in tokens_s]  # it is three times
        for record, is_slow in zip(own, are_slow, strict=True):
            last_s = record.arrived_s + record.total_s
            if is_slow:
                assert record.arrived_s < ended_s + GRAIN_S
                assert last_s > slows_s - GRAIN_S
            else:
                assert record.arrived_s < slowed_s + GRAIN_S or last_s > ends_s - GRAIN_S
        return outcome.loads == 0 and any(are_slow) and not all(are_slow)

    assert seen_within(5, slow)


@pytest.mark.timeout(240)
def test_a_study_that_is_told_to_end_leaves_nothing_behind(tmp_path):
    one = ["--quick", "--scenario", "constant", "--strategy", "least_conn"]  # is begun sooner
    command = [sys.executable, "-m", "ollama_fleet", "bench", "routing", *one]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as study:
        try:
            instances = until(lambda: servers_of(tmp_path), seconds=120, what="a simulated Ollama")
            study.terminate()
            assert study.wait(60) == 128 + signal.SIGTERM
        finally:
            study.kill()  # or leaving the block waits for all of the study
    assert instances
    assert not servers_of(tmp_path)
    assert not [*tmp_path.glob("fleet-*-*")]


def servers_of(folder):
    """The processes whose model store is in there."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get("OLLAMA_MODELS", "").startswith(str(folder)):
                found.append(process)
    return found
