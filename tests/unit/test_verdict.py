"""Where a request's seconds went, and what is said to be the cause."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import made

from ollama_fleet.history import Cause, Ending, explain
from ollama_fleet.history.paces import paces
from ollama_fleet.history.spent import PARTS, spent

seconds = st.floats(0, 1e6)
ADAPTIVE = ("load", "wait", "prefill", "decode", "others", "evict")


def verdict(record, *others):
    told = explain(record, others)
    return told.cause, told.verdict


def others(instance, tokens_per_s, *, count=5, **changes):
    """Answers of 100 tokens by an instance that wrote so many in a second."""
    decode_s = 100 / tokens_per_s
    usual = {"instance": instance, "output_tokens": 100, "reported_decode_s": decode_s}
    return [made(id=f"{instance}-{n}", total_s=60.0, **usual, **changes) for n in range(count)]


# -- seconds -----------------------------------------------------------------------------------


@given(
    st.fixed_dictionaries(
        dict.fromkeys(
            (
                "queue_s",
                "load_s",
                "first_byte_s",
                "total_s",
                "stalled_s",
                "failed_s",
                "reported_load_s",
                "reported_prefill_s",
                "reported_decode_s",
            ),
            seconds,
        )
    ),
    st.booleans(),
)
def test_every_second_is_counted_once(figures, inference):
    """However its figures contradict one another, the parts are what it took in all."""
    found = spent(made(inference=inference, **figures))
    parts = [part_s for _, part_s in found.parts()]
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(figures["total_s"])
    assert [name for name, _ in found.parts()] == list(PARTS)


def test_the_instances_own_figures_are_taken_where_it_gives_them():
    found = spent(made())
    assert (found.queue_s, found.load_s, found.prefill_s) == (0.5, 0.03, 0.25)
    assert found.decode_s == pytest.approx(3.97), "as far as there is time for it"
    assert found.reported


def test_else_prefill_and_decode_are_told_apart_by_the_first_byte():
    unsaid = {"reported_load_s": 0.0, "reported_prefill_s": 0.0, "reported_decode_s": 0.0}
    found = spent(made(queue_s=1.0, first_byte_s=3.0, total_s=10.0, **unsaid))
    assert (found.queue_s, found.prefill_s, found.decode_s) == (1.0, 2.0, 7.0)
    assert not found.reported
    again = spent(made(queue_s=1.0, failed_s=1.5, first_byte_s=3.0, total_s=10.0, **unsaid))
    assert (again.failed_s, again.prefill_s, again.decode_s) == (1.5, 0.5, 7.0)
    whole = {**unsaid, "stream": False, "queue_s": 1.0, "first_byte_s": 9.0, "total_s": 10.0}
    assert spent(made(**whole)).decode_s == 9.0, "in one piece: it was mostly written"
    assert spent(made(**whole, output_tokens=0)).prefill_s == 8.0, "an embedding is only read"


def test_an_answer_that_refuses_was_neither_read_nor_written():
    unsaid = {"reported_load_s": 0.0, "reported_prefill_s": 0.0, "reported_decode_s": 0.0}
    found = spent(made(status=404, queue_s=1.0, total_s=3.0, **unsaid))
    assert (found.queue_s, found.prefill_s, found.decode_s, found.other_s) == (1.0, 0.0, 0.0, 2.0)


def test_what_the_client_kept_waiting_is_not_the_instances_time():
    found = spent(made(total_s=20.0, reported_decode_s=15.0, stalled_s=10.0))
    assert (found.client_s, found.decode_s) == (10.0, 5.0)


# -- causes ------------------------------------------------------------------------------------


def test_a_queue_is_told_with_how_full_the_fleet_was():
    waited = made(queue_s=20.0, total_s=25.0, instances_up=3, instances_full=3, waiting_before=7)
    assert verdict(waited) == (
        Cause.QUEUE,
        (
            "waited in the queue for 20.0 s of 25.0 s: all 3 instances were full when it came, "
            "and 7 requests waited before it"
        ),
    )


@pytest.mark.parametrize(
    ("up", "full", "why"),
    [
        (0, 0, "no instance was ready"),
        (1, 1, "the one instance was full when it came"),
        (2, 2, "both instances were full when it came"),
        (4, 2, "2 of 4 instances were full when it came, and waiting was cheaper"),
    ],
)
def test_a_queue_has_other_reasons_too(up, full, why):
    waited = made(queue_s=20.0, total_s=25.0, instances_up=up, instances_full=full)
    assert why in verdict(waited)[1]


def test_a_cold_load_is_told_with_those_that_had_the_model():
    scores = (("gpu0", (9.0, 8.0, 0.0, 1.0, 0.0, 0.0, 0.0)), ("gpu1", (30.0,) + (0.0,) * 6))
    cold = made(load_s=8.0, total_s=10.0, queue_s=0.0, terms=ADAPTIVE, scores=scores)
    assert verdict(cold) == (
        Cause.LOAD,
        (
            "cold load of Qwen3:8b on gpu0: 8.03 s of 10.0 s until it was in memory; "
            "gpu1 had it in memory, and would have taken longer"
        ),
    )


def test_a_load_that_only_the_instance_tells_of_is_a_load():
    assert verdict(made(reported_load_s=9.0, total_s=12.0))[0] is Cause.LOAD


def test_milliseconds_that_an_instance_takes_to_come_to_its_model_are_no_cold_load():
    brief = {"queue_s": 0.0, "reported_prefill_s": 0.001, "reported_decode_s": 0.001}
    assert verdict(made(reported_load_s=0.005, total_s=0.008, first_byte_s=0.007, **brief)) == (
        Cause.ELSEWHERE,
        "nothing took long: 0.01 s in all, and Qwen3:8b was in memory of gpu0",
    )


def test_a_slow_node_is_told_by_what_others_do():
    slow = made(output_tokens=100, reported_decode_s=10.0, total_s=11.0, queue_s=0.0)
    assert verdict(slow, *others("gpu1", 50.0), *others("gpu2", 40.0)) == (
        Cause.SLOW_NODE,
        "slow node: gpu0 decodes at 10 tok/s where others do 45; its answer took 10.0 s of 11.0 s",
    )


def test_an_instance_that_is_slower_than_usual_is_slow_where_there_is_no_other():
    slow = made(output_tokens=100, reported_decode_s=10.0, total_s=11.0, queue_s=0.0)
    told = verdict(slow, *others("gpu0", 50.0))
    assert told[0] is Cause.SLOW_NODE
    assert "at 10 tok/s, usually 50" in told[1]


def test_two_requests_are_not_enough_to_call_an_instance_slow():
    slow = made(output_tokens=100, reported_decode_s=10.0, total_s=11.0, queue_s=0.0)
    assert verdict(slow, *others("gpu1", 50.0, count=2))[0] is Cause.LONG_ANSWER


def test_an_instance_is_compared_with_others_that_had_as_much_to_do():
    """Who shares an instance among four is slower there, and the instance is not."""
    mine = made(output_tokens=100, reported_decode_s=10.0, total_s=11.0, queue_s=0.0, busy=4.0)
    alone, shared = others("gpu1", 40.0, busy=1.0), others("gpu1", 11.0, busy=4.0)
    told = verdict(mine, *alone, *shared)
    assert told[0] is Cause.LONG_ANSWER
    assert verdict(mine, *others("gpu1", 40.0, busy=1.0, count=2))[0] is Cause.LONG_ANSWER


def test_a_shared_instance_is_told_by_what_it_does_for_one():
    mine = made(output_tokens=100, reported_decode_s=10.0, total_s=11.0, queue_s=0.0, busy=4.0)
    told = verdict(mine, *others("gpu0", 14.0, busy=1.0), *others("gpu1", 40.0, busy=1.0, count=2))
    assert told[0] is Cause.LONG_ANSWER
    told = verdict(mine, *others("gpu0", 14.0, busy=2.0), *others("gpu1", 16.0, busy=1.0))
    assert told[0] in {Cause.SHARED_NODE, Cause.SLOW_NODE}


def test_a_long_answer_and_a_long_prompt_have_their_figures():
    answer = made(output_tokens=4_000, reported_decode_s=80.0, total_s=82.0, queue_s=0.0)
    assert verdict(answer) == (
        Cause.LONG_ANSWER,
        "long answer: 4000 tokens at 50 tok/s took 80.0 s of 82.0 s",
    )
    prompt = made(prompt_tokens=30_000, reported_prefill_s=15.0, total_s=20.0, queue_s=0.0)
    assert verdict(prompt) == (
        Cause.LONG_PROMPT,
        "long prompt: 30000 tokens at 2000 tok/s took 15.0 s of 20.0 s",
    )


def test_a_node_that_reads_slowly_is_slow_too():
    slow = made(prompt_tokens=3_000, reported_prefill_s=15.0, total_s=20.0, queue_s=0.0)
    quick = [
        made(id=str(n), instance="gpu1", prompt_tokens=3_000, reported_prefill_s=1.0)
        for n in range(4)
    ]
    assert verdict(slow, *quick)[1].startswith("slow node: gpu0 reads at 200 tok/s where others do")


def test_a_retry_is_told_with_who_failed_and_why():
    tried = made(
        tried=("gpu1", "gpu0"), failures=("FirstByteTimeout",), failed_s=30.0, total_s=35.0
    )
    assert verdict(tried) == (
        Cause.RETRY,
        "retry after failure: gpu1 (FirstByteTimeout) took 30.0 s of 35.0 s before gpu0 had it",
    )


def test_a_client_that_does_not_read_is_to_blame_itself():
    stalled = made(stalled_s=30.0, reported_decode_s=33.0, total_s=35.0)
    assert verdict(stalled)[0] is Cause.SLOW_CLIENT


def test_what_came_to_nothing_is_told_by_its_reason():
    full = made(status=503, ending=Ending.REFUSED, error="QueueFull: too many", instance="")
    assert verdict(full) == (Cause.REFUSED, "refused with 503: QueueFull: too many")
    cut = made(ending=Ending.BROKEN, error="StreamBroken: gpu0 was lost", records=12)
    assert verdict(cut) == (
        Cause.BROKEN,
        "broken off after 12 records: StreamBroken: gpu0 was lost",
    )


def test_of_a_client_that_left_it_is_told_what_it_waited_for():
    left = made(ending=Ending.CLIENT_GONE, queue_s=9.0, total_s=9.0, instance="", tried=())
    cause, text = verdict(left)
    assert cause is Cause.QUEUE
    assert text == (
        "the client left after 9.00 s; waited in the queue for 9.00 s of 9.00 s: "
        "no place came free for it"
    )


# -- paces -------------------------------------------------------------------------------------


def test_the_pace_of_an_instance_is_the_median_of_what_went_well():
    failed = made(instance="gpu1", ending=Ending.BROKEN, output_tokens=100, reported_decode_s=99.0)
    few = made(instance="gpu1", output_tokens=2, reported_decode_s=99.0, prompt_tokens=1)
    (pace,) = paces(made(), [*others("gpu1", 20.0), *others("gpu1", 40.0, count=6), failed, few])
    assert (pace.instance, pace.requests, pace.decode_per_s) == ("gpu1", 12, 40.0)
