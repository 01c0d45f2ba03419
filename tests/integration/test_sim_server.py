"""The simulated Ollama as a process: start, signals, runners.

`SimServer` and the small HTTP helpers here serve the other integration tests of the simulation.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ollama_fleet.bench.ports import free_port
from ollama_fleet.sim.ollama.catalogue import install_profile
from ollama_fleet.sim.ollama.profile import load
from ollama_fleet.sim.ollama.store import Store

DEADLINE_S = 30.0
PROFILE = """
version: 0.20.0
registry_bytes_per_s: 20MB
nodes:
  - gpu: { name: Test GPU, memory: 10MB }
    slots: 2
    prefill_tokens_per_s: 4000
    decode_base_s: 0.004
    decode_per_busy_s: 0.001
    load_bytes_per_s: 20MB
cpu:
  prefill_tokens_per_s: 400
  decode_base_s: 0.01
  decode_per_busy_s: 0.01
  load_bytes_per_s: 20MB
models:
  - &chat { name: "a:1b", size: 4MB, parameter_size: 1B, quantization: Q4_K_M, family: llama }
  - { <<: *chat, name: "b:1b" }
  - { <<: *chat, name: "c:1b" }
  - { <<: *chat, name: "far:1b", size: 6MB }
  - { <<: *chat, name: emb, size: 1MB, embedding: true, embedding_length: 16 }
installed: ["a:1b", "b:1b", "c:1b", emb]
outputs: { median_tokens: 15, sigma: 0.3, max_tokens: 40 }
"""


def eventually(condition, deadline_s=DEADLINE_S):
    """The first true value of `condition`; fails when the deadline passes without one."""
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    pytest.fail(f"not within {deadline_s} s")


def request_bytes(method, path, body=None, headers=()):
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join([*lines, "", ""]).encode() + content


class SimServer:
    """A simulated Ollama; `directory` holds its profile, log, store and hardware files."""

    def __init__(self, directory: Path, port=None, **environment):
        self.directory = directory
        self.port = port or free_port()
        self.store = directory / "store"
        self.hardware = directory / "hardware"
        self.profile = directory / "profile.yaml"
        if not self.profile.exists():
            self.profile.write_text(PROFILE)
            install_profile(Store(self.store), load(str(self.profile)))
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "OLLAMA_HOST": f"127.0.0.1:{self.port}",
            "OLLAMA_MODELS": str(self.store),
            "OLLAMA_NOPRUNE": "1",
            "OLLAMA_SIM_PROFILE": str(self.profile),
            "OLLAMA_SIM_HARDWARE": str(self.hardware),
            **environment,
        }
        self.log_path = directory / f"log-{self.port}"
        self.process: subprocess.Popen[bytes]

    def __enter__(self):
        self.start()
        eventually(self.answers)
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def start(self):
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ollama_fleet.sim.ollama", "serve"],
                env=self.environment,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self):
        return self.log_path.read_text()

    def answers(self):
        with contextlib.suppress(OSError):
            return self.raw(request_bytes("GET", "/")).startswith(b"HTTP/1.1 200")
        return False

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)

    def send(self, method, path, body=None):
        """A connection on which this request was sent."""
        connection = self.connect()
        connection.sendall(request_bytes(method, path, body))
        return connection

    def raw(self, data):
        """All bytes of the answer to these."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection)

    def call(self, method, path, body=None):
        """Status and parsed body of an answer; a stream is a list of records."""
        head, content = split(self.raw(request_bytes(method, path, body)))
        status = int(head.split()[1])
        if b"x-ndjson" in head:
            return status, [json.loads(line) for line in content.splitlines()]
        return status, json.loads(content) if content[:1] in {b"{", b"n"} else content.decode()

    def generate(self, model="a:1b", prompt="hello", **more):
        body = {"model": model, "prompt": prompt, "stream": False} | more
        return self.call("POST", "/api/generate", body)

    def resident(self):
        return {row["name"]: row for row in self.call("GET", "/api/ps")[1]["models"]}


def read_all(connection):
    received = b""
    while data := connection.recv(1 << 16):
        received += data
    return received


def split(received):
    """Head and body of an answer, the chunks joined."""
    head, _, content = received.partition(b"\r\n\r\n")
    if b"chunked" not in head:
        return head, content
    return head, b"".join(chunks(content))


def chunks(content):
    """The chunks of a chunked body, one by one; the last is empty if it ended properly."""
    found = []
    while content:
        size, _, rest = content.partition(b"\r\n")
        length = int(size, 16)
        found.append(rest[:length])
        content = rest[length + 2 :]
    return found


def head_lines(received):
    return received.partition(b"\r\n\r\n")[0].decode().split("\r\n")


def tokens(count):
    return {"num_predict": count}


@pytest.fixture
def sim(tmp_path):
    with SimServer(tmp_path) as server:
        yield server


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    """Processes whose parent is this one, or whose process group it leads."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if str(pid) in (fields[1], fields[2]) and fields[0] != "Z":
                found.append(int(path.parent.name))
    return [child for child in found if child != pid]


class TestLife:
    def test_the_log_says_where_it_listens_and_what_it_computes_on(self, sim):
        log = eventually(lambda: "inference compute" in sim.log and sim.log)
        assert f'msg="Listening on 127.0.0.1:{sim.port} (version 0.20.0)"' in log
        assert "id=GPU-51300000-0000-0000-0000-000000000000 library=cuda" in log

    def test_an_unknown_gpu_is_a_fallback_to_the_cpu_in_silence(self, tmp_path):
        with SimServer(tmp_path, CUDA_VISIBLE_DEVICES="GPU-nope") as server:
            eventually(lambda: "id=cpu library=cpu" in server.log)
            assert 'msg="user overrode visible devices" CUDA_VISIBLE_DEVICES=GPU-nope' in server.log
            server.generate()
            assert server.resident()["a:1b"]["size_vram"] == 0

    def test_a_taken_port_is_exit_1_with_ollamas_words(self, sim, tmp_path):
        second = SimServer(tmp_path, port=sim.port)
        second.start()
        assert second.process.wait(DEADLINE_S) == 1
        expected = f"Error: listen tcp 127.0.0.1:{sim.port}: bind: address already in use\n"
        assert expected in second.log

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_at_once_and_cuts_streams(self, sim, number):
        """No drain: exit code 0, and a stream ends without its terminating chunk."""
        body = {"model": "a:1b", "prompt": "x", "options": tokens(10_000)}
        with sim.send("POST", "/api/generate", body) as stream:
            assert stream.recv(1000).startswith(b"HTTP/1.1 200")
            sim.process.send_signal(number)
            rest = read_all(stream)
        assert sim.process.wait(DEADLINE_S) == 0
        assert not rest.endswith(b"0\r\n\r\n")
        assert b"error" not in rest

    def test_it_leaves_the_cpus_to_others_where_that_is_asked(self, tmp_path):
        own = os.getpriority(os.PRIO_PROCESS, 0)
        with SimServer(tmp_path, OLLAMA_SIM_NICE="3") as server:
            assert os.getpriority(os.PRIO_PROCESS, server.process.pid) == min(own + 3, 19)

    def test_the_commands(self, tmp_path):
        def run(*arguments):
            command = [sys.executable, "-m", "ollama_fleet.sim.ollama", *arguments]
            return subprocess.run(command, capture_output=True, text=True, check=False)

        assert run("--version").stdout == "ollama version is 0.20.0\n"
        assert run("install", "--profile", "2x24GB", "--store", str(tmp_path)).returncode == 0
        assert len(Store(tmp_path).all()) == 3
        assert run("install", "--profile", "nope", "--store", str(tmp_path)).returncode == 1
        assert run("dance").returncode == 2


class TestRunners:
    def test_a_resident_model_is_a_child_that_ends_with_it(self, tmp_path):
        with SimServer(tmp_path, OLLAMA_SIM_RUNNER="1") as server:
            server.generate()
            assert len(children(server.process.pid)) == 1
            server.call("POST", "/api/generate", {"model": "a:1b", "keep_alive": 0})
            eventually(lambda: not children(server.process.pid))
            server.generate()
            server.process.terminate()
            server.process.wait(DEADLINE_S)
            assert children(server.process.pid) == []

    def test_sigkill_leaves_runners_behind_in_its_process_group(self, tmp_path):
        with SimServer(tmp_path, OLLAMA_SIM_RUNNER="1") as server:
            server.generate()
            (child,) = children(server.process.pid)
            server.process.kill()
            server.process.wait(DEADLINE_S)
            assert alive(child)
            os.killpg(server.process.pid, signal.SIGKILL)
            eventually(lambda: not alive(child))

    def test_a_killed_runner_breaks_the_stream_and_the_next_request_reloads(self, tmp_path):
        with SimServer(tmp_path, OLLAMA_SIM_RUNNER="1") as server:
            body = {"model": "a:1b", "prompt": "x", "options": tokens(10_000)}
            with server.send("POST", "/api/generate", body) as stream:
                stream.recv(1000)
                os.kill(children(server.process.pid)[0], signal.SIGKILL)
                rest = read_all(stream)
            assert rest.endswith(b'model: unexpected EOF"}\n\r\n0\r\n\r\n')
            assert "a:1b" in server.resident()
            status, answer = server.generate()
            assert status == 200
            assert answer["load_duration"] > 0.15e9
