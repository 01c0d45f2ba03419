"""How the simulated Ollama serves: queue, slots, what is in memory, a store shared by several."""

import contextlib
import json
import select
import time

import pytest
from test_sim_server import (
    DEADLINE_S,
    SimServer,
    eventually,
    head_lines,
    read_all,
    request_bytes,
    split,
    tokens,
)

QUEUE_FULL = "server busy, please try again.  maximum pending requests exceeded"
CHAT = [{"role": "user", "content": "hello"}]


@pytest.fixture
def sim(tmp_path):
    with SimServer(tmp_path) as server:
        yield server


def four_of(connections):
    """Those on which something has come, once there are four."""
    ready, _, _ = select.select(connections, [], [], 0.05)
    return ready if len(ready) >= 4 else None


def stands_still(blobs):
    """Whether a part of a blob is there, and for a while no more of it than before."""
    before = parts_of(blobs)
    time.sleep(0.3)
    return len(before) == 2 and before == parts_of(blobs)


def parts_of(blobs):
    """The file of a part and the record of how much of it has come."""
    found = sorted(blobs.glob("*-partial*"))
    return {path.name: path.read_text() if path.name.endswith("-0") else "" for path in found}


# One that loads, and one that waits, are all that find room.
BOUNDS = {"OLLAMA_MAX_QUEUE": "1", "OLLAMA_NUM_PARALLEL": "1"}


class TestQueue:
    def six(self, server, stack):
        """Six requests at once, on a connection each."""
        body = {"model": "a:1b", "prompt": "x", "options": tokens(3)}
        return [stack.enter_context(server.send("POST", "/api/generate", body)) for _ in range(6)]

    def test_max_queue_bounds_those_who_wait_for_a_load(self, tmp_path):
        """One loads, for minutes, one waits, four get 503."""
        slow_load = {"OLLAMA_SIM_FAULTS": "slow:factor=1000"}
        with (
            SimServer(tmp_path, **BOUNDS, **slow_load) as server,
            contextlib.ExitStack() as stack,
        ):
            sent = self.six(server, stack)
            answered = eventually(lambda: four_of(sent))
            assert [int(read_all(connection).split()[1]) for connection in answered] == [503] * 4

    def test_max_queue_bounds_nobody_whose_model_is_loaded(self, tmp_path):
        with SimServer(tmp_path, **BOUNDS) as server, contextlib.ExitStack() as stack:
            server.generate()
            sent = self.six(server, stack)
            assert [int(read_all(connection).split()[1]) for connection in sent] == [200] * 6

    def test_the_503_is_ollamas(self, tmp_path):
        with SimServer(tmp_path, OLLAMA_SIM_FAULTS="busy") as server:
            received = server.raw(request_bytes("POST", "/api/generate", {"model": "a:1b"}))
            assert "Content-Length: 77" in head_lines(received)
            assert json.loads(split(received)[1]) == {"error": QUEUE_FULL}
            wanted = {"model": "a:1b", "messages": CHAT, "max_tokens": 1}
            answer = server.call("POST", "/v1/messages", wanted)[1]
            assert answer["error"] == {"type": "overloaded_error", "message": QUEUE_FULL}

    def test_the_wait_for_a_slot_is_in_the_total_only(self, tmp_path):
        parts = ("load_duration", "prompt_eval_duration", "eval_duration")
        long = {"model": "a:1b", "prompt": "x", "options": tokens(200)}
        with SimServer(tmp_path, OLLAMA_NUM_PARALLEL="1") as server:
            server.generate()

            def waited():  # or the long one was over before the machine let the other come
                with server.send("POST", "/api/generate", long) as first:
                    first.recv(1)
                    _, answer = server.generate(options=tokens(2))
                return answer["total_duration"] - sum(answer[part] for part in parts) > 0.2e9

            eventually(waited)

    def test_a_client_that_leaves_frees_its_slot_and_its_place(self, tmp_path):
        with SimServer(tmp_path, OLLAMA_NUM_PARALLEL="1") as server:
            server.generate()
            endless = {"model": "a:1b", "prompt": "x", "options": tokens(40_000)}
            working = server.send("POST", "/api/generate", endless)
            working.recv(1)
            waiting = server.send("POST", "/api/generate", endless | {"stream": False})
            waiting.close()
            working.close()
            began = time.monotonic()
            assert server.generate()[0] == 200
            assert time.monotonic() - began < 100.0, "of two that take two hundred each"

    def test_loading_does_not_hold_up_what_is_loaded(self, tmp_path):
        """A loading model is not in ps, and the others are served meanwhile."""
        with SimServer(tmp_path, OLLAMA_SIM_FAULTS="slow:model=b:1b;factor=50") as server:
            server.generate("a:1b")
            with server.send("POST", "/api/generate", {"model": "b:1b", "prompt": "x"}):
                assert list(server.resident()) == ["a:1b"]
                assert server.generate("a:1b", options=tokens(1))[1]["load_duration"] < 0.1e9


class TestResidency:
    def test_load_unload_and_expiry(self, sim):
        load = sim.call("POST", "/api/generate", {"model": "a:1b"})[1]
        assert (load["done"], load["done_reason"], load["response"]) == (True, "load", "")
        row = sim.resident()["a:1b"]
        assert (row["size"], row["size_vram"], row["context_length"]) == (
            4_000_000,
            4_000_000,
            4096,
        )
        unload = {"model": "a:1b", "messages": [], "keep_alive": 0}
        assert sim.call("POST", "/api/chat", unload)[1]["done_reason"] == "unload"
        assert sim.resident() == {}
        assert sim.call("POST", "/api/chat", unload)[0] == 200
        sim.generate(keep_alive="200ms")
        eventually(lambda: not sim.resident())

    def test_keep_alive_for_ever_is_the_year_2319(self, sim):
        sim.generate(keep_alive=-1)
        assert sim.resident()["a:1b"]["expires_at"].startswith("2319-")

    def test_room_is_made_by_unloading_the_idle(self, sim):
        for model in ("a:1b", "b:1b", "a:1b", "c:1b"):
            sim.generate(model)
        assert set(sim.resident()) == {"a:1b", "c:1b"}

    def test_another_context_length_reloads(self, sim):
        sim.generate()
        _, answer = sim.generate(options={"num_ctx": 2048})
        assert answer["load_duration"] >= 0.2e9
        assert sim.resident()["a:1b"]["context_length"] == 2048

    def test_a_repeated_prompt_is_counted_in_full_and_evaluated_faster(self, sim):
        prompt = "one two three four " * 50
        first, again = (sim.generate(prompt=prompt, options=tokens(1))[1] for _ in range(2))
        assert again["prompt_eval_count"] == first["prompt_eval_count"] > 200
        assert again["prompt_eval_duration"] < first["prompt_eval_duration"] / 50

    def test_answers_are_the_same_on_every_server(self, sim):
        _, here = sim.generate(options={"seed": 7})
        with SimServer(sim.directory) as other:
            _, there = other.generate(options={"seed": 7})
            _, different = other.generate(options={"seed": 8})
        assert here["response"] == there["response"] != different["response"]
        assert here["done_reason"] == "stop"

    def test_embeddings_are_vectors_of_the_models_width(self, sim):
        wanted = {"model": "emb", "input": ["x", "y", "x"]}
        _, answer = sim.call("POST", "/api/embed", wanted)
        first, second, third = answer["embeddings"]
        assert len(first) == 16
        assert first == third != second
        assert sim.call("POST", "/api/embed", {"model": "emb"})[1]["embeddings"] == []


class TestStore:
    @pytest.fixture
    def other(self, sim):
        with SimServer(sim.directory) as server:
            yield server

    def names(self, server):
        return {row["name"] for row in server.call("GET", "/api/tags")[1]["models"]}

    def test_servers_on_one_store_see_each_others_models_at_once(self, sim, other):
        copy = {"source": "a:1b", "destination": "mine"}
        assert sim.call("POST", "/api/copy", copy) == (200, "")
        assert "mine:latest" in self.names(other)
        other.generate("mine")
        assert sim.call("DELETE", "/api/delete", {"model": "mine"}) == (200, "")
        assert "mine:latest" not in self.names(other)
        assert "mine:latest" in other.resident()
        assert other.generate("mine")[0] == 404

    def test_two_names_of_one_blob_share_a_runner(self, sim):
        sim.generate("a:1b")
        sim.call("POST", "/api/copy", {"source": "a:1b", "destination": "mine"})
        assert sim.generate("mine")[1]["load_duration"] < 0.1e9
        assert list(sim.resident()) == ["a:1b"]

    def test_a_pull_tells_its_progress_and_leaves_a_model(self, sim):
        status, records = sim.call("POST", "/api/pull", {"model": "far:1b"})
        assert status == 200
        assert records[0] == {"status": "pulling manifest"}
        assert [r["status"] for r in records[-3:]] == [
            "verifying sha256 digest",
            "writing manifest",
            "success",
        ]
        weights = [r for r in records if r.get("total") == 6_000_000]
        progress = [record.get("completed", 0) for record in weights]
        assert progress == sorted(progress)
        assert (progress[0], progress[-1]) == (0, 6_000_000)
        assert len(progress) > 3
        assert sim.generate("far:1b")[0] == 200
        again = sim.call("POST", "/api/pull", {"model": "far:1b"})[1]
        assert sum(record.get("total") == 6_000_000 for record in again) == 1

    def test_an_unknown_model_fails_after_the_manifest(self, sim):
        status, records = sim.call("POST", "/api/pull", {"model": "nope"})
        assert status == 200
        assert records[-1] == {"error": "pull model manifest: file does not exist"}
        assert sim.call("POST", "/api/pull", {"model": "nope", "stream": False})[0] == 500

    def test_a_pull_ends_with_its_last_client_and_is_resumed(self, tmp_path):
        """Left so slow that it would take half a minute; resumed by a server that is not."""
        wanted = {"model": "far:1b"}
        with SimServer(tmp_path, OLLAMA_SIM_TIME_SCALE="0.01") as slow:
            with slow.send("POST", "/api/pull", wanted) as one:
                with slow.send("POST", "/api/pull", wanted) as two:
                    while b'"completed":' not in two.recv(1 << 16):
                        pass
                while b'"completed":' not in one.recv(1 << 16):
                    pass
            eventually(lambda: stands_still(slow.store / "blobs"))
            slow.process.terminate()
            slow.process.wait(DEADLINE_S)
        with SimServer(tmp_path) as sim:
            _, records = sim.call("POST", "/api/pull", wanted)
        first = next(record for record in records if record.get("total") == 6_000_000)
        assert first["completed"] > 0
        assert not list((sim.store / "blobs").glob("*-partial*"))

    def test_create_and_blobs(self, sim):
        made = sim.call("POST", "/api/create", {"model": "mine", "from": "a:1b", "system": "Be."})
        statuses = [record["status"] for record in made[1]]
        assert statuses[-2:] == ["writing manifest", "success"]
        assert sim.call("POST", "/api/show", {"model": "mine"})[1]["system"] == "Be."
        assert sim.generate("mine")[0] == 200
        digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        path = f"/api/blobs/{digest}"

        def post(where):
            head = f"POST {where} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            return sim.raw(f"{head}Content-Length: 5\r\n\r\nhello".encode())

        assert sim.raw(request_bytes("HEAD", path)).startswith(b"HTTP/1.1 404")
        assert post(path).startswith(b"HTTP/1.1 201")
        assert post(path).startswith(b"HTTP/1.1 200")
        assert sim.raw(request_bytes("HEAD", path)).startswith(b"HTTP/1.1 200")
        assert b"digest mismatch, expected" in post(f"/api/blobs/sha256:{'0' * 64}")
        create = {"model": "up", "files": {"x.gguf": digest}, "stream": False}
        assert sim.call("POST", "/api/create", create) == (200, {"status": "success"})
        assert "up:latest" in self.names(sim)
