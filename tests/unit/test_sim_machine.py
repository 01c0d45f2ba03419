"""The simulated server in virtual time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.sim.ollama.jobs import (
    RUNNER_DIED,
    RUNNER_GONE,
    Job,
    Kind,
    Limits,
    QueueFullError,
)
from ollama_fleet.sim.ollama.machine import Machine
from ollama_fleet.sim.ollama.rates import Rates
from ollama_fleet.sim.ollama.residency import RunnerOptions, Weights
from ollama_fleet.sim.ollama.text import Answer

MB = 1_000_000
GPU = Rates(
    prefill_tokens_per_s=100.0, decode_base_s=0.1, decode_per_busy_s=0.05, load_bytes_per_s=MB
)
CPU = Rates(
    prefill_tokens_per_s=10.0, decode_base_s=1.0, decode_per_busy_s=0.5, load_bytes_per_s=MB / 2
)
A, B, C = (Weights(name, 4 * MB) for name in "ABC")
OPTIONS = RunnerOptions()


def machine(gpu=GPU, **limits):
    return Machine(gpu, CPU, Limits(**{"budget_bytes": 10 * MB} | limits))


def job(number, weights=A, prompt=10, tokens=3, options=OPTIONS, **more):
    said = Answer(number, tokens, ends_by_itself=True) if tokens else None
    words = [f"{number}-{i}" for i in range(prompt)]
    return Job(number, weights.digest, weights, options, words, said, **more)


def run(server, until=1000.0):
    """Everything that happens until then."""
    events = []
    while (due := server.next_due()) is not None and due <= until:
        events += server.advance(due)
    return events


def when(events, number, kind):
    return next(event.at for event in events if (event.job, event.kind) == (number, kind))


def resident(server):
    return [r.weights.digest for r in server.residents]


class TestTimes:
    def test_load_prefill_and_decode_add_up(self):
        """Load = bytes/rate; the first token ends the prefill; each further one takes d(1)."""
        server = machine()
        server.submit(job(1), 0.0)
        events = run(server, 10.0)
        assert when(events, 1, Kind.READY) == 4.0
        assert when(events, 1, Kind.EVALUATED) == pytest.approx(4.1)
        tokens = [event.at for event in events if event.kind is Kind.TOKEN]
        assert tokens == pytest.approx([4.1, 4.25, 4.40])
        assert when(events, 1, Kind.DONE) == tokens[-1]

    def test_a_token_takes_longer_while_others_are_busy(self):
        """d(n) counts every busy slot of the server, also of another model."""
        server = machine(parallel=2, keep_alive_s=-1.0)
        server.submit(job(1, A, tokens=0, prompt=0), 0.0)
        server.submit(job(2, B, tokens=0, prompt=0), 0.0)
        run(server, 20.0)
        server.submit(job(3, A, tokens=50), 20.0)
        server.submit(job(4, A, tokens=50), 20.0)
        server.submit(job(5, B, tokens=50), 20.0)
        tokens = [e.at for e in run(server, 25.0) if e.job == 3 and e.kind is Kind.TOKEN]
        assert tokens[1] - tokens[0] == pytest.approx(GPU.decode_s(3))

    def test_a_repeated_prompt_needs_one_token_of_prefill(self):
        server = machine()
        server.submit(job(1, prompt=50), 0.0)
        run(server, 20.0)
        again = Job(2, "A", A, OPTIONS, job(1, prompt=50).prompt, Answer(0, 1, ends_by_itself=True))
        events = server.submit(again, 20.0) + run(server, 30.0)
        assert when(events, 2, Kind.EVALUATED) - 20.0 == pytest.approx(1 / 100)

    def test_speed_scales_prefill_and_decode_but_not_the_load(self):
        server = machine()
        server.submit(job(1, Weights("fast", 4 * MB, speed=10.0)), 0.0)
        events = run(server, 10.0)
        assert when(events, 1, Kind.READY) == 4.0
        assert when(events, 1, Kind.DONE) == pytest.approx(4.0 + 0.01 + 2 * 0.015)

    def test_what_does_not_fit_alone_is_loaded_in_part_and_slower(self):
        server = machine()
        server.submit(job(1, Weights("big", 20 * MB)), 0.0)
        events = run(server, 100.0)
        (big,) = server.residents
        assert big.vram_bytes == 10 * MB
        assert when(events, 1, Kind.DONE) - when(events, 1, Kind.EVALUATED) == pytest.approx(
            2 * (GPU.decode_s(1) + CPU.decode_s(1)) / 2
        )

    def test_without_a_gpu_everything_is_in_main_memory(self):
        server = machine(gpu=None)
        server.submit(job(1), 0.0)
        events = run(server, 100.0)
        assert server.residents[0].vram_bytes == 0
        assert when(events, 1, Kind.READY) == 8.0

    @given(st.lists(st.floats(0.01, 3.0), min_size=1, max_size=20))
    def test_a_late_caller_sees_the_same_times(self, waits):
        """Steps follow from steps, not from calls: advancing rarely changes nothing."""
        punctual, late = machine(parallel=2), machine(parallel=2)
        for server in (punctual, late):
            for number in range(1, 5):
                server.submit(job(number, tokens=20), 0.0)
        expected = run(punctual, 100.0)
        seen, now = [], 0.0
        for wait in waits:
            now += wait
            seen += late.advance(now)
        seen += late.advance(100.0)
        assert seen == expected


class TestQueue:
    def test_the_wait_for_a_load_is_bounded(self):
        """One in hand and MAX_QUEUE behind it; the next is refused."""
        server = machine(max_queue=1)
        server.submit(job(1), 0.0)
        server.submit(job(2), 0.0)
        with pytest.raises(QueueFullError):
            server.submit(job(3), 0.0)

    def test_the_wait_for_a_slot_is_not(self):
        server = machine(max_queue=1)
        server.submit(job(1), 0.0)
        run(server, 10.0)
        for number in range(2, 50):
            server.submit(job(number), 10.0)
        assert sum(event.kind is Kind.DONE for event in run(server, 1000.0)) == 48

    def test_slots_are_given_in_order_of_arrival(self):
        server = machine()
        for number in range(1, 6):
            server.submit(job(number), 0.0)
        started = [event.job for event in run(server, 100.0) if event.kind is Kind.STARTED]
        assert started == [1, 2, 3, 4, 5]

    def test_an_embedding_model_has_one_slot(self):
        server = machine(parallel=4)
        embedder = Weights("E", MB, embedding=True)
        for number in (1, 2):
            server.submit(job(number, embedder, tokens=0, prompt=100), 0.0)
        events = run(server, 100.0)
        assert when(events, 2, Kind.DONE) == pytest.approx(when(events, 1, Kind.DONE) + 1.0)

    def test_a_cancelled_job_frees_its_slot_at_once(self):
        server = machine()
        server.submit(job(1, tokens=1000), 0.0)
        server.submit(job(2), 0.0)
        run(server, 5.0)
        events = server.cancel(1, 5.0)
        assert [(event.job, event.kind) for event in events] == [(2, Kind.STARTED)]


class TestFailures:
    def test_a_dead_runner_fails_its_jobs_and_is_reloaded_by_the_next(self):
        server = machine()
        server.submit(job(1, tokens=1000), 0.0)
        server.submit(job(2), 0.0)
        run(server, 5.0)
        events = server.kill_runner("A", 5.0)
        assert [(e.job, e.text) for e in events] == [(1, RUNNER_DIED), (2, RUNNER_GONE)]
        assert resident(server) == ["A"]  # ps lists it until somebody notices
        server.submit(job(3), 6.0)
        assert when(run(server, 100.0), 3, Kind.READY) == 10.0

    def test_a_stalled_job_holds_its_slot_and_does_no_work(self):
        server = machine()
        server.submit(job(1, tokens=10, stalls_after=2), 0.0)
        server.submit(job(2), 0.0)
        events = run(server, 100.0)
        assert sum(event.kind is Kind.TOKEN for event in events) == 2
        assert server.busy == 0
        assert any(event.job == 2 for event in server.cancel(1, 100.0))
        assert server.busy == 1


@settings(max_examples=60)
@given(st.data())
def test_nothing_leaks(data):
    """Whatever arrives, leaves and dies: in the end nobody holds anything, VRAM was never over."""
    server = machine(parallel=data.draw(st.integers(1, 3)), max_queue=3)
    now, alive = 0.0, set()
    for number in range(1, data.draw(st.integers(1, 25)) + 1):
        now += data.draw(st.floats(0.0, 2.0))
        ended = server.advance(now)
        choice = data.draw(st.integers(0, 9))
        if choice == 0 and alive:
            server.cancel(data.draw(st.sampled_from(sorted(alive))), now)
        elif choice == 1:
            ended += server.kill_runner(data.draw(st.sampled_from("ABC")), now)
        else:
            wanted = job(
                number,
                data.draw(st.sampled_from((A, B, C))),
                tokens=data.draw(st.integers(0, 20)),
                keep_alive_s=data.draw(st.sampled_from((None, 0.0, 1.0, -1.0))),
            )
            try:
                ended += server.submit(wanted, now)
                alive.add(number)
            except QueueFullError:
                pass
        alive -= {event.job for event in ended if event.kind in {Kind.DONE, Kind.FAILED}}
        assert sum(r.vram_bytes for r in server.residents) <= 10 * MB
    for number in sorted(alive):
        server.cancel(number, now)
    run(server, now + 10.0)
    assert server.busy == 0
    assert all(r.idle and not r.slots.waiting for r in server.residents)
    server.submit(job(99), now + 400.0)
    assert when(run(server, now + 500.0), 99, Kind.DONE) > now
