"""The inference probe: which models may be asked for a token, and when, on virtual time."""

import asyncio
import math
from datetime import UTC, datetime

from fleet_fixtures import resident
from repair_fixtures import Sick
from virtual_time import now, passes, run

from ollama_fleet.control.repair.signs import Signs
from ollama_fleet.control.repair.tokens import TokenProbes, askable
from ollama_fleet.names import canonical
from ollama_fleet.state import Completed, Residency, Want

FOR_GOOD_S = datetime(2319, 3, 1, tzinfo=UTC).timestamp()
FOR_A_WHILE_S = datetime(2026, 11, 21, tzinfo=UTC).timestamp()


def held(expires_s, **more):
    sick = Sick(**more)
    sick.rows = (resident("m", expires_s=expires_s),)
    sick.state.set_resident(sick.it, sick.rows)
    return sick


def test_only_a_model_that_stays_for_good_or_is_in_use_is_asked():
    """With any other the question would keep it in memory."""

    async def check():
        assert askable(held(FOR_GOOD_S).it)
        assert not askable(held(FOR_A_WHILE_S).it)
        assert not askable(held(float("inf")).it), "how long it stays is not known"
        used = held(FOR_A_WHILE_S)
        used.request()
        assert askable(used.it)

    run(check())


def test_none_is_asked_that_would_have_to_be_loaded_or_has_no_free_slot():
    async def check():
        full = held(FOR_GOOD_S, slots=1)
        full.request()
        assert not askable(full.it)
        empty = held(FOR_GOOD_S)
        empty.state.set_resident(empty.it, ())
        assert not askable(empty.it)
        loading = held(FOR_GOOD_S)
        loading.state.on_want.append(lambda _: None)
        weights = Residency("d-other")
        loading.state.want(Want(loading.it, weights, "other", "/api/generate", ()))
        assert not askable(loading.it)

    run(check())


def probes(sick):
    signs = Signs(sick.state, now)
    return signs, TokenProbes(lambda _: sick, signs, interval_s=60.0, timeout_s=300.0)


def test_one_that_has_given_nothing_for_the_interval_is_asked_once_per_interval():
    async def check():
        sick = held(FOR_GOOD_S)
        signs, probe = probes(sick)
        for _ in range(150):
            probe.look(sick.it)
            await passes(2)
        assert sick.done == [("token", "m")] * 4
        with signs, sick.state.lease(sick.it, canonical("m")) as lease:
            sick.state.outcome(lease, Completed(200))
        assert probe.look(sick.it) == 0

    run(check())


def test_how_often_one_is_asked_can_change_and_whether_at_all():
    async def check():
        sick = held(FOR_GOOD_S)
        _, probe = probes(sick)
        counts = []
        for interval_s in (60.0, math.inf, 20.0, math.inf):
            probe.retune(interval_s=interval_s, timeout_s=300.0)
            for _ in range(60):
                probe.look(sick.it)
                await passes(2)
            counts.append(len(sick.done))
            sick.done.clear()
        assert counts[1::2] == [0, 0]
        assert 1 <= counts[0] < counts[2]

    run(check())


def test_lists_and_descriptions_are_no_signs_of_life():
    """A server answers them whose runner hangs: whoever polls it would hide that for ever."""

    async def check():
        sick = held(FOR_GOOD_S)
        signs, _ = probes(sick)
        with signs:
            before = signs.of(sick.it)
            with sick.state.lease(sick.it, canonical("m"), slot=False) as lease:
                sick.state.progress(lease, lambda: 0, now())
                sick.state.outcome(lease, Completed(200))
            assert signs.of(sick.it) == before

    run(check())


def test_a_question_for_which_there_is_no_socket_is_no_slot_that_gives_nothing():
    async def check():
        sick = held(FOR_GOOD_S, ails="unasked")
        _, probe = probes(sick)
        busy = []
        for _ in range(150):
            busy.append(probe.look(sick.it))
            await passes(2)
        assert sum(busy) == 4, "each is over at once, and the next comes an interval later"

    run(check())


def test_a_slot_that_gives_no_token_counts_as_busy_until_it_is_left():
    async def check():
        sick = held(FOR_GOOD_S, ails="restart")
        _, probe = probes(sick)
        busy = []
        for _ in range(60):
            busy.append(probe.look(sick.it))
            await passes(2)
        assert busy == [0] * 30 + [1] * 30
        probe.leave(sick.it)
        await asyncio.sleep(0)
        await probe.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(check())
