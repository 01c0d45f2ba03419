"""Answers of the simulated Ollama that go wrong on the wire, its lies, its floods, its journal."""

import json
import time

import pytest
from test_sim_server import SimServer, eventually, request_bytes, tokens

STREAM = {"model": "a:1b", "prompt": "x", "options": tokens(9), "stream": True}
WHOLE = STREAM | {"stream": False}
EMBED = {"model": "a:1b", "input": "x"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One for all: each of these faults ends with its script."""
    folder = tmp_path_factory.mktemp("spoiled")
    journal = str(folder / "journal")
    with SimServer(folder, OLLAMA_SIM_FAULTS="", OLLAMA_SIM_JOURNAL=journal) as running:
        yield running


@pytest.fixture
def sim(server):
    fault(server, "")
    return server


def fault(sim, text):
    sim.raw(
        f"POST /sim/faults HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Length: {len(text)}\r\n\r\n{text}".encode()
    )


def ask(sim, body, path="/api/generate", headers=()):
    """All bytes of an answer, and whether the connection was reset."""
    received = b""
    with sim.connect() as connection:
        connection.sendall(request_bytes("POST", path, body, headers))
        try:
            while data := connection.recv(1 << 16):
                received += data
        except ConnectionResetError:
            return received, True
    return received, False


def test_a_cut_stream_has_its_records_and_no_last_chunk(sim):
    fault(sim, "cut:after_tokens=4;times=1")
    received, reset = ask(sim, STREAM)
    assert (received.count(b'"done":false'), reset) == (4, False)
    assert not received.endswith(b"0\r\n\r\n")
    assert ask(sim, STREAM)[0].endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("body", [STREAM, WHOLE])
def test_cut_at_the_start_nothing_comes(sim, body):
    fault(sim, "cut")
    assert ask(sim, body) == (b"", False)


def test_a_cut_answer_in_one_piece_is_shorter_than_its_head_says(sim):
    fault(sim, "cut:after_tokens=1")
    head, _, body = ask(sim, WHOLE)[0].partition(b"\r\n\r\n")
    announced = next(h for h in head.split(b"\r\n") if h.startswith(b"Content-Length: "))
    assert 0 < len(body) < int(announced.removeprefix(b"Content-Length: "))


@pytest.mark.parametrize("script", ["reset", "reset:after_tokens=3"])
def test_a_reset_is_seen_as_one(sim, script):
    fault(sim, script)
    assert ask(sim, STREAM)[1]


def test_junk_is_no_http(sim):
    fault(sim, "junk:times=1")
    assert not ask(sim, STREAM)[0].startswith(b"HTTP/")
    fault(sim, "junk:after_tokens=2")
    received, _ = ask(sim, STREAM)
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b"neither a head nor a chunk\r\n\r\n")


def test_embeddings_are_spoiled_as_well(sim):
    fault(sim, "cut")
    assert ask(sim, EMBED, "/api/embed")[0] == b""


def test_a_liar_tells_something_else_every_time_and_serves_on(sim):
    sim.generate()

    def told():
        received = sim.raw(request_bytes("GET", "/api/ps", headers=["Connection: close"]))
        return received.split(b"\r\n\r\n", 1)[1]

    fault(sim, "lies")
    assert len({told() for _ in range(6)}) == 6
    assert sim.generate()[0] == 200
    fault(sim, "")
    assert json.loads(told())["models"][0]["name"] == "a:1b"


def test_a_flood_is_printed_while_requests_are_answered(sim):
    fault(sim, "flood:seconds=0.3")
    assert sim.generate()[0] == 200
    eventually(lambda: sim.log.count("level=DEBUG") > 100)


def test_the_journal_has_a_line_for_each_answer_that_began(sim):
    before_s = time.monotonic()
    ask(sim, STREAM, headers=["X-Request-Id: one"])
    fault(sim, "cut")
    ask(sim, STREAM, headers=["X-Request-Id: two"])
    rows = map(json.loads, (sim.directory / "journal").read_text().splitlines())
    (row,) = (row for row in rows if row["id"] in {"one", "two"})
    assert (row["id"], row["pid"]) == ("one", sim.process.pid)
    assert before_s < row["came_s"] < time.monotonic()
