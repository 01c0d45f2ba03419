"""Scripted faults of the simulated Ollama, as a client and a supervisor meet them."""

import contextlib
import signal
import subprocess

import pytest
from test_sim_server import (
    DEADLINE_S,
    SimServer,
    chunks,
    eventually,
    request_bytes,
    tokens,
)

from ollama_fleet.sim.hardware import SimulatedGpus
from ollama_fleet.sim.ollama.profile import load


class TestFaults:
    def fault(self, sim, text):
        return sim.raw(
            f"POST /sim/faults HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Length: {len(text)}\r\n\r\n{text}".encode()
        )

    @pytest.fixture
    def sim(self, tmp_path):
        with SimServer(tmp_path, OLLAMA_SIM_FAULTS="") as server:
            yield server

    def test_the_switch_exists_only_with_the_variable(self, tmp_path):
        with SimServer(tmp_path) as server:
            assert self.fault(server, "busy").startswith(b"HTTP/1.1 404")

    def test_a_bad_script_is_refused_and_a_good_one_is_shown(self, sim):
        assert self.fault(sim, "explode").startswith(b"HTTP/1.1 400")
        self.fault(sim, "busy:times=1")
        assert sim.call("GET", "/sim/faults") == (200, "busy:times=1")

    def test_busy_is_ollamas_503_so_many_times(self, sim):
        self.fault(sim, "busy:model=a:1b;times=1")
        assert sim.generate("b:1b")[0] == 200
        status, answer = sim.generate()
        assert status == 503
        assert answer["error"].startswith("server busy, please try again.  maximum")
        assert sim.generate()[0] == 200

    def test_hang_keeps_connection_and_slot_and_leaves_the_gpu_idle(self, sim):
        sim.generate()
        self.fault(sim, "hang:after_tokens=2;times=1")
        body = {"model": "a:1b", "prompt": "x", "options": tokens(5)}
        with sim.send("POST", "/api/generate", body) as stream:
            received = b""
            while received.count(b'"done":false') < 2:
                received += stream.recv(1 << 16)
            stream.settimeout(0.3)
            with pytest.raises(TimeoutError):
                stream.recv(1)
            gpus = SimulatedGpus(load(str(sim.profile)), sim.hardware)
            eventually(lambda: gpus.read().readings[0].utilisation_ratio == 0.0)
        assert sim.generate()[0] == 200

    def test_crash_is_a_sigkill_in_mid_stream(self, sim):
        self.fault(sim, "crash:after_tokens=3")
        body = {"model": "a:1b", "prompt": "x", "options": tokens(9)}
        received = b""
        with (
            sim.send("POST", "/api/generate", body) as stream,
            contextlib.suppress(ConnectionResetError),
        ):
            while data := stream.recv(1 << 16):
                received += data
        assert not received.endswith(b"0\r\n\r\n")
        assert sim.process.wait(DEADLINE_S) == -signal.SIGKILL

    @pytest.mark.parametrize(
        ("path", "body", "end"),
        [
            (
                "/api/generate",
                {"prompt": "x", "stream": True},
                b'{"error":"an error was encountered while running the model: unexpected EOF"}\n',
            ),
            (
                "/v1/chat/completions",
                {"messages": [{"role": "user", "content": "x"}], "stream": True},
                b'"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n',
            ),
            (
                "/v1/messages",
                {"messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 9},
                b'"delta":{"type":"text_delta","text":',
            ),
        ],
    )
    def test_runner_death_ends_each_dialect_as_ollama_does(self, sim, path, body, end):
        """An error line on /api; on /v1 a clean end without any end marker."""
        self.fault(sim, "runner_death:after_tokens=2;times=1")
        _, content = sim.raw(request_bytes("POST", path, {"model": "a:1b"} | body)).split(
            b"\r\n\r\n", 1
        )
        *records, last = chunks(content)
        assert last == b""
        assert end in records[-1]
        assert b"[DONE]" not in content
        assert b"message_stop" not in content

    def test_runner_death_before_the_first_byte_is_a_500(self, sim):
        self.fault(sim, "runner_death:times=1")
        status, answer = sim.generate()
        assert status == 500
        assert "unexpected EOF" in answer["error"]

    def test_slow_and_cpu_fallback(self, sim):
        fast = sim.generate(options=tokens(10))[1]["eval_duration"]
        self.fault(sim, "slow:factor=5")
        assert sim.generate(options=tokens(10))[1]["eval_duration"] == pytest.approx(5 * fast)
        self.fault(sim, "cpu_fallback:model=b:1b")
        sim.generate("b:1b")
        rows = sim.resident()
        assert (rows["a:1b"]["size_vram"], rows["b:1b"]["size_vram"]) == (4_000_000, 0)

    def test_start_failure_is_exit_1(self, tmp_path):
        server = SimServer(tmp_path, OLLAMA_SIM_FAULTS="start_failure")
        server.start()
        assert server.process.wait(DEADLINE_S) == 1
        assert server.log.startswith("Error: ")

    def test_start_delay_listens_but_does_not_answer(self, tmp_path):
        server = SimServer(tmp_path, OLLAMA_SIM_FAULTS="start_delay:seconds=600")
        server.start()
        with contextlib.ExitStack() as stack:
            stack.push(server.__exit__)
            eventually(lambda: server.log_path.exists() and "Listening on" in server.log)
            connection = stack.enter_context(server.send("GET", "/"))
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(1)

    def test_after_its_start_delay_it_answers(self, tmp_path):
        with SimServer(tmp_path, OLLAMA_SIM_FAULTS="start_delay:seconds=0.2") as server:
            assert server.generate()[0] == 200

    def test_ignore_term(self, tmp_path):
        with SimServer(tmp_path, OLLAMA_SIM_FAULTS="ignore_term") as server:
            server.process.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                server.process.wait(0.3)
            assert server.answers()
