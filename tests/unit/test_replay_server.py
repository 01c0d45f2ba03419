"""The server of a replay does what the simulated Ollama does, at the same times."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ollama_fleet.replay.hardware import Hardware
from ollama_fleet.replay.job import Span
from ollama_fleet.replay.server import Happened, Server
from ollama_fleet.replay.stream import Stream
from ollama_fleet.sim.ollama.jobs import Job, Kind, Limits
from ollama_fleet.sim.ollama.machine import Machine
from ollama_fleet.sim.ollama.rates import Rates
from ollama_fleet.sim.ollama.residency import RunnerOptions, Weights
from ollama_fleet.sim.ollama.text import Answer, common_prefix

MB = 1_000_000
GPU = Rates(
    prefill_tokens_per_s=97.0, decode_base_s=0.101, decode_per_busy_s=0.0503, load_bytes_per_s=MB
)
CPU = Rates(
    prefill_tokens_per_s=9.7, decode_base_s=1.01, decode_per_busy_s=0.503, load_bytes_per_s=MB / 2
)
MODELS = [Weights("a", 4 * MB), Weights("b", 4 * MB, speed=2.0), Weights("c", 9 * MB)]


def limits(**more):
    return Limits(**{"budget_bytes": 8 * MB, "parallel": 2, "keep_alive_s": 30.0} | more)


def asked_of_a_server(asked, bounds):
    """First and last token of every request, by number, and the models at the end."""
    server, seen, at = Server(Hardware(GPU, CPU, bounds)), {}, 0

    def note(events):
        for event in events:
            if event.stream is not None:
                seen.setdefault(event.stream.number, []).append(event.at_s)

    while at < len(asked) or server.next_due_s < math.inf:
        if at < len(asked) and asked[at][0] <= server.next_due_s:
            now_s, model, text, prompt, output = asked[at]
            stream = Stream(at, MODELS[model], Span(text, prompt), output)
            note(server.submit(stream, now_s))
            at += 1
        else:
            now_s = server.next_due_s
            note(server.advance(now_s))
            note(server.settle(now_s))
    return seen


def asked_of_a_machine(asked, bounds):
    machine, seen, at, tokens = Machine(GPU, CPU, bounds), {}, 0, []

    def note(events):
        for event in events:
            if event.kind in (Kind.EVALUATED, Kind.DONE):
                seen.setdefault(event.job, []).append(event.at)
            elif event.kind is Kind.TOKEN:
                tokens.append((event.at, event.job))

    while at < len(asked) or machine.next_due() is not None:
        due = machine.next_due()
        if at < len(asked) and (due is None or asked[at][0] <= due):
            now_s, model, text, prompt, output = asked[at]
            words = [f"{text}-{n}" for n in range(prompt)]
            answer = Answer(0, output, True, tuple(f"{text}-{prompt + n}" for n in range(output)))
            weights = MODELS[model]
            job = Job(at, weights.digest, weights, RunnerOptions(), words, answer)
            note(machine.submit(job, now_s))
            at += 1
        else:
            note(machine.advance(due))
    for (one_s, one), (next_s, other) in pairwise(sorted(tokens)):
        assume(one == other or next_s - one_s > 1e-9)
    return seen


REQUESTS = st.lists(
    st.tuples(
        st.floats(0.0, 7.0),  # after the one before
        st.integers(0, 2),
        st.integers(0, 3),
        st.integers(1, 60),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=25,
)


@settings(deadline=None)
@given(REQUESTS)
def test_first_and_last_tokens_come_when_the_simulated_ollama_says_so(requests):
    """Loads, evictions, slots, prefix caches, d(n): the same for any sequence of requests.

    But for streams in step: which of two tokens of the same instant comes first is chance, and the
    other may be the last, after which a slot less is busy. So prompts differ here, and nothing
    expires.
    """
    asked, now_s = [], 0.0
    for number, (gap_s, model, text, prompt, output) in enumerate(requests):
        now_s += gap_s + 0.0137
        asked.append((now_s, model, text, prompt + 61 * number, output))
    bounds = limits(keep_alive_s=1e6)
    ours, theirs = asked_of_a_server(asked, bounds), asked_of_a_machine(asked, bounds)
    assert ours.keys() == theirs.keys()
    for number, times in theirs.items():
        assert ours[number] == pytest.approx(times, abs=1e-6)


def test_a_model_that_nobody_uses_goes_after_its_keep_alive():
    server = Server(Hardware(GPU, CPU, limits()))
    server.load(MODELS[0], 0.0)
    assert server.next_due_s == 4.0
    assert [e.kind for e in server.advance(4.0)] == [Happened.LOADED]
    server.settle(4.0)
    assert server.next_due_s == 34.0
    assert [e.kind for e in server.advance(34.0)] == [Happened.UNLOADED]
    assert server.residents == ()


def test_a_slower_node_takes_longer_from_that_moment_on():
    """Half the answer at full speed, half at a third of it; the same for a prefill and a load."""
    server = Server(Hardware(GPU, CPU, limits()))
    server.load(MODELS[0], 0.0)
    server.slow_down(3.0, 2.0)
    assert server.next_due_s == pytest.approx(8.0)
    server.advance(8.0)
    server.slow_down(1.0, 8.0)
    stream = Stream(1, MODELS[0], Span(1, 97), 101)
    server.submit(stream, 10.0)
    server.slow_down(3.0, 10.5)
    assert server.next_due_s == pytest.approx(12.0)
    server.advance(12.0)
    server.settle(12.0)
    token_s = GPU.decode_s(1)
    assert server.next_due_s == pytest.approx(12.0 + 100 * 3 * token_s)
    server.slow_down(1.0, 12.0 + 50 * 3 * token_s)
    assert stream.tokens == 51
    assert server.next_due_s == pytest.approx(
        12.0 + 50 * 3 * token_s + 50 * token_s, abs=token_s * 2
    )


@given(st.integers(0, 2), st.integers(0, 9), st.integers(0, 2), st.integers(0, 9))
def test_spans_compare_as_the_tokens_they_stand_for(text, length, other, other_length):
    one, two = Span(text, length), Span(other, other_length)
    expected = common_prefix(list(one), list(two))
    assert common_prefix(one, two) == expected
    assert (one == two) == (list(one) == list(two))
    assert list(one[2:5]) == list(one)[2:5]
