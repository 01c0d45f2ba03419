"""What the simulated server keeps in memory, in virtual time."""

import pytest
from test_sim_machine import A, B, C, job, machine, resident, run, when

from ollama_fleet.sim.ollama.jobs import LOAD_TIMED_OUT, Kind
from ollama_fleet.sim.ollama.residency import RunnerOptions, Weights


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
