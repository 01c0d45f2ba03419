"""What is told of requests on their way, of answers of late, and of decisions."""

import math

import pytest
from fleet_fixtures import asks, fleet, resident
from made_records import Clock, made

from ollama_fleet.api.admin.lately import WINDOW_S, Lately
from ollama_fleet.history import Ending
from ollama_fleet.router.admission import Admitted
from ollama_fleet.router.policy import UNDECIDED
from ollama_fleet.router.relay.journal import Journal
from ollama_fleet.router.relay.live import live
from ollama_fleet.state import Stage, Work


def test_a_request_is_in_the_stage_that_it_waits_in_and_has_been_since_that_began():
    state = fleet("gpu0")
    one = state.instances["gpu0"]
    request = asks(id="r1", tenant="alice", client="10.0.0.7")
    journal = Journal(request, "first", arrived_s=0.0, began_s=100.0)

    told = live(journal, 103.0)
    assert (told.stage, told.stage_s, told.age_s, told.instance) == (Stage.QUEUE, 3.0, 3.0, "")
    assert (told.id, told.tenant, told.client, told.model) == ("r1", "alice", "10.0.0.7", "m")

    lease = state.lease(one, request.key)
    state.began(lease, Work(), 104.0)
    journal.admitted(Admitted(lease, UNDECIDED), 4.0)
    told = live(journal, 106.0)
    assert (told.stage, told.stage_s, told.instance, told.attempts) == (Stage.LOAD, 2.0, "gpu0", 1)

    state.set_resident(one, [resident("m")])
    state.sent(lease, 107.0)
    assert (live(journal, 108.5).stage, live(journal, 108.5).stage_s) == (Stage.PREFILL, 1.5)

    state.progress(lease, lambda: 12, 110.0)
    told = live(journal, 112.0)
    assert (told.stage, told.stage_s, told.age_s, told.tokens) == (Stage.DECODE, 2.0, 12.0, 12)


def test_who_waits_for_a_load_shares_it_with_those_who_wait_with_it():
    state = fleet("gpu0", slots=2)
    one, request = state.instances["gpu0"], asks(id="r1")
    journal = Journal(request, "first", arrived_s=0.0, began_s=0.0)
    leases = [state.lease(one, request.key) for _ in range(2)]
    journal.admitted(Admitted(leases[0], UNDECIDED), 0.0)
    journal.loaded(leases[0], 6.0)
    assert (journal.record().load_s, journal.record().gpu_s) == (6.0, 3.0)
    leases[1].release()
    journal.loaded(leases[0], 4.0)
    assert (journal.record().load_s, journal.record().gpu_s) == (10.0, 7.0)


def test_attempts_that_failed_took_what_no_queue_has_until_the_last_place():
    state = fleet("gpu0", slots=2)
    one, request = state.instances["gpu0"], asks(id="r1")
    journal = Journal(request, "first", arrived_s=0.0, began_s=100.0)
    for began_s, waited_s in ((101.0, 1.0), (110.0, 2.0)):
        lease = state.lease(one, request.key)
        state.began(lease, Work(), began_s)
        journal.past += (journal.lease,) if journal.lease is not None else ()
        journal.admitted(Admitted(lease, UNDECIDED), waited_s)
    journal.ended_s = 120.0
    record = journal.record()
    assert (record.queue_s, record.failed_s, record.total_s) == (3.0, 7.0, 20.0)


def test_what_runs_no_model_is_only_passing():
    state = fleet("gpu0")
    request = asks(slot=False)
    lease = state.lease(state.instances["gpu0"], request.key, slot=False)
    state.began(lease, Work(), 1.0)
    journal = Journal(request, "first", arrived_s=0.0, began_s=1.0)
    journal.admitted(Admitted(lease, UNDECIDED), 0.0)
    assert live(journal, 2.0).stage is Stage.PASSING


def lately(*records, now_s=1_100.0):
    one = Lately(Clock(now_s))
    for record in records:
        one.add(record)
    return one


def test_times_to_the_first_byte_are_of_streams_that_ran_a_model_and_went_well():
    some = [made(id=f"r{n}", first_byte_s=n / 10) for n in range(1, 21)]
    others = (
        made(stream=False, first_byte_s=99.0),
        made(inference=False, first_byte_s=99.0),
        made(status=503, ending=Ending.REFUSED, first_byte_s=99.0),
        made(first_byte_s=0.0, status=0, ending=Ending.CLIENT_GONE),
    )
    (served,) = lately(*some, *others).served()
    assert (served.instance, served.streams) == ("gpu0", 20)
    assert (served.ttft_p50_s, served.ttft_p95_s) == (1.0, 1.9)


def test_what_was_long_ago_tells_nothing():
    record = made(arrived_s=1_000.0, total_s=4.0)
    assert lately(record, now_s=1_004.0 + WINDOW_S).served()
    assert lately(record, now_s=1_004.1 + WINDOW_S).served() == ()


def test_decisions_come_newest_first_with_all_that_led_to_them():
    one = lately(*(made(id=f"r{n}") for n in range(5)), made(id="tags", inference=False))
    assert [d.id for d in one.decisions(3)] == ["r4", "r3", "r2"]
    (newest,) = one.decisions(1)
    assert newest.scores == (("gpu0", (1.0, 1.0)), ("gpu1", (2.0, 2.0)))
    assert newest.terms == ("in_flight",)
    assert newest.ended_s == pytest.approx(1_004.75)


def test_what_is_kept_is_bounded():
    one = lately(*(made(id=f"r{n}", first_byte_s=1.0) for n in range(2_000)))
    assert len(one.decisions(10**6)) < 1_000
    (served,) = one.served()
    assert served.streams < 1_000
    assert math.isclose(served.ttft_p50_s, 1.0)
