"""The simulated server in virtual time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.sim.ollama.jobs import (
    LOAD_TIMED_OUT,
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


class TestLoading:
    def test_loads_go_one_after_another(self):
        server = machine()
        server.submit(job(1, A), 0.0)
        server.submit(job(2, B), 0.0)
        events = run(server, 100.0)
        assert when(events, 1, Kind.READY) == 4.0
        assert when(events, 2, Kind.READY) == 8.0

    def test_a_loaded_model_serves_while_another_loads(self):
        server = machine()
        server.submit(job(1, A), 0.0)
        run(server, 10.0)
        server.submit(job(2, B), 10.0)
        events = server.submit(job(3, A), 10.0)
        assert when(events, 3, Kind.READY) == 10.0

    def test_a_loading_model_is_not_resident_yet(self):
        server = machine()
        server.submit(job(1), 0.0)
        server.advance(3.9)
        assert resident(server) == []

    def test_the_least_recently_used_idle_model_goes(self):
        server = machine()
        for number, weights in enumerate((A, B, A, C), start=1):
            server.submit(job(number, weights), 20.0 * number)
            run(server, 20.0 * number + 19)
        assert resident(server) == ["A", "C"]

    def test_the_shortest_keep_alive_goes_first(self):
        """Even if it was used last."""
        server = machine()
        server.submit(job(1, A, keep_alive_s=10_000.0), 0.0)
        server.submit(job(2, B, keep_alive_s=500.0), 1.0)
        run(server, 30.0)
        server.submit(job(3, C), 31.0)
        run(server, 50.0)
        assert resident(server) == ["A", "C"]

    def test_a_busy_model_makes_the_load_wait_and_goes_on_serving(self):
        server = machine(max_models=1, parallel=2)
        server.submit(job(1, A, tokens=100), 0.0)
        run(server, 5.0)
        server.submit(job(2, B), 5.0)
        assert when(server.submit(job(3, A, tokens=5), 5.0), 3, Kind.READY) == 5.0
        events = run(server, 100.0)
        assert when(events, 2, Kind.READY) == pytest.approx(when(events, 1, Kind.DONE) + 4.0)

    def test_max_models_counts_models_not_bytes(self):
        server = machine(max_models=1)
        small = [Weights(name, 1000) for name in "xy"]
        for number, weights in enumerate(small, start=1):
            server.submit(job(number, weights), 10.0 * number)
            run(server, 10.0 * number + 9)
        assert resident(server) == ["y"]

    def test_other_options_reload_the_model_when_it_is_idle(self):
        server = machine(parallel=2)
        server.submit(job(1, tokens=20), 0.0)
        run(server, 4.5)
        server.submit(job(2, options=RunnerOptions(num_ctx=8192)), 4.5)
        events = run(server, 100.0)
        assert when(events, 2, Kind.READY) == pytest.approx(when(events, 1, Kind.DONE) + 4.0)
        assert server.residents[0].options.num_ctx == 8192

    def test_a_negative_num_gpu_takes_what_is_there(self):
        server = machine()
        server.submit(job(1, options=RunnerOptions(num_gpu=20)), 0.0)
        run(server, 10.0)
        events = server.submit(job(2), 10.0)
        assert when(events, 2, Kind.READY) == 10.0

    def test_who_asked_for_a_load_owns_it(self):
        """It ends with its client; the next who waits begins it again."""
        server = machine()
        server.submit(job(1), 0.0)
        server.submit(job(2), 0.0)
        server.cancel(1, 3.0)
        events = run(server, 100.0)
        assert when(events, 2, Kind.READY) == 7.0

    def test_a_load_that_shows_no_progress_in_time_fails(self):
        server = machine(load_timeout_s=0.1)
        server.submit(job(1), 0.0)
        (failed,) = run(server, 10.0)
        assert (failed.kind, failed.at, failed.text) == (Kind.FAILED, 0.1, LOAD_TIMED_OUT)


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


class TestStay:
    def test_keep_alive_runs_from_the_last_use(self):
        server = machine(keep_alive_s=10.0)
        server.submit(job(1), 0.0)
        done = when(run(server, 5.0), 1, Kind.DONE)
        server.submit(job(2), done + 8.0)
        again = when(run(server, done + 9.0), 2, Kind.DONE)
        server.advance(again + 9.9)
        assert resident(server) == ["A"]
        server.advance(again + 10.1)
        assert resident(server) == []

    def test_expiry_moves_in_the_first_use_and_then_only_when_idle_again(self):
        server = machine(keep_alive_s=10.0)
        server.submit(job(1), 0.0)
        server.advance(4.05)
        (model,) = server.residents
        assert model.expiry(4.05) == 14.05
        assert model.expiry(4.2) == 14.2
        done = when(run(server, 5.0), 1, Kind.DONE)
        server.submit(job(2, tokens=200), 8.0)
        server.advance(13.0)
        assert model.expiry(13.0) == done + 10.0

    def test_a_negative_keep_alive_is_for_ever(self):
        server = machine()
        server.submit(job(1, keep_alive_s=-1.0), 0.0)
        run(server, 100.0)
        assert server.residents[0].expiry(0.0) > 9e9

    def test_keep_alive_0_unloads_after_the_answer(self):
        server = machine()
        server.submit(job(1, keep_alive_s=0.0), 0.0)
        events = run(server, 100.0)
        assert when(events, 1, Kind.DONE) == when(events, 0, Kind.UNLOADED)

    def test_unloading_in_mid_stream_waits_for_the_stream(self):
        server = machine()
        server.submit(job(1, tokens=20), 0.0)
        run(server, 4.2)
        assert server.unload("A", 4.2) == []
        events = run(server, 100.0)
        assert when(events, 0, Kind.UNLOADED) == when(events, 1, Kind.DONE)


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
