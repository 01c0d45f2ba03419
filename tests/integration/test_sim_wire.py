"""What a client of the simulated Ollama sees on the socket: bytes, statuses, order, time."""

import json
import re

import pytest
from test_sim_server import (
    SimServer,
    chunks,
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


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One server for all tests that leave nothing behind."""
    with SimServer(tmp_path_factory.mktemp("sim")) as server:
        yield server


class TestFraming:
    @pytest.fixture
    def sim(self, shared):
        return shared

    def test_a_native_stream_is_one_record_per_chunk(self, sim):
        body = {"model": "a:1b", "prompt": "hello", "options": tokens(3)}
        received = sim.raw(request_bytes("POST", "/api/generate", body))
        lines = head_lines(received)
        assert lines[0] == "HTTP/1.1 200 OK"
        assert [line.partition(":")[0] for line in lines[1:]] == [
            "Content-Type",
            "Date",
            "Connection",
            "Transfer-Encoding",
        ]
        *records, end = chunks(received.partition(b"\r\n\r\n")[2])
        assert end == b""
        assert all(re.fullmatch(rb"\{[^\n]*\}\n", record) for record in records)
        assert re.fullmatch(
            rb'\{"model":"a:1b","created_at":"[-0-9T:.]+Z","response":" \w+","done":false\}\n',
            records[0],
        )
        final = json.loads(records[-1])
        assert list(final) == [
            "model",
            "created_at",
            "response",
            "done",
            "done_reason",
            "context",
            "total_duration",
            "load_duration",
            "prompt_eval_count",
            "prompt_eval_duration",
            "eval_count",
            "eval_duration",
        ]
        assert (final["done_reason"], final["eval_count"]) == ("length", 3)

    def test_one_token_has_no_eval_duration(self, sim):
        _, answer = sim.generate(options=tokens(1))
        assert "eval_duration" not in answer
        assert answer["eval_count"] == 1

    def test_an_openai_stream_ends_with_usage_and_done_in_its_last_chunk(self, sim):
        body = {
            "model": "a:1b",
            "messages": CHAT,
            "max_tokens": 2,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        received = sim.raw(request_bytes("POST", "/v1/chat/completions", body))
        first, _, last, end = chunks(received.partition(b"\r\n\r\n")[2])
        assert first.startswith(b'data: {"id":"chatcmpl-')
        assert b'"delta":{"role":"assistant","content":" ' in first
        events = last.split(b"\n\n")
        assert b'"finish_reason":"length"' in events[0]
        assert b'"choices":[],"usage":{"prompt_tokens":' in events[1]
        assert events[2:] == [b"data: [DONE]", b""]
        assert end == b""

    def test_an_anthropic_stream_has_its_events_in_order(self, sim):
        body = {"model": "a:1b", "messages": CHAT, "max_tokens": 1, "stream": True}
        received = sim.raw(request_bytes("POST", "/v1/messages", body))
        assert "Cache-Control: no-cache" in head_lines(received)
        kinds = re.findall(rb"event: (\w+)", received)
        assert kinds == [
            b"message_start",
            b"content_block_start",
            b"content_block_delta",
            b"content_block_stop",
            b"message_delta",
            b"message_stop",
        ]

    def test_a_responses_stream_counts_its_events_and_has_no_done(self, sim):
        body = {"model": "a:1b", "input": "hello", "max_output_tokens": 1, "stream": True}
        _, content = split(sim.raw(request_bytes("POST", "/v1/responses", body)))
        records = [json.loads(line) for line in re.findall(rb"data: (.*)", content)]
        assert [record["sequence_number"] for record in records] == list(range(9))
        assert records[0]["type"] == "response.created"
        assert records[-1]["type"] == "response.completed"
        assert records[-1]["response"]["usage"]["output_tokens"] == 1

    def test_a_long_answer_is_chunked_and_a_short_one_is_not(self, sim):
        assert "Transfer-Encoding: chunked" in head_lines(
            sim.raw(request_bytes("POST", "/api/show", {"model": "a:1b"}))
        )
        assert "Content-Length: 20" in head_lines(sim.raw(request_bytes("GET", "/api/version")))

    def test_keep_alive_pipelining_and_half_close(self, sim):
        """Two requests in one segment are answered in order; an ended client still hears."""
        one = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with sim.connect() as connection:
            connection.sendall(one)
            connection.shutdown(1)
            assert read_all(connection).count(b'{"version":"0.20.0"}') == 1
        with sim.connect() as connection:
            connection.sendall(one + one)
            received = b""
            while received.count(b'{"version":"0.20.0"}') < 2:
                received += connection.recv(1 << 16)

    def test_nothing_is_sent_before_the_first_token(self, tmp_path):
        """Not even a status line while the model loads, here for minutes."""
        slow_load = {"OLLAMA_SIM_FAULTS": "slow:factor=1000"}
        with (
            SimServer(tmp_path, **slow_load) as server,
            server.send("POST", "/api/generate", {"model": "a:1b", "prompt": "x"}) as connection,
        ):
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):
                connection.recv(1)


class TestErrors:
    @pytest.fixture
    def sim(self, shared):
        return shared

    @pytest.mark.parametrize(
        ("path", "body", "status", "text"),
        [
            ("/api/generate", {"model": "nope", "prompt": "x"}, 404, "model 'nope' not found"),
            ("/api/chat", {}, 400, "model is required"),
            ("/api/generate", {}, 404, "model '' not found"),
            ("/api/generate", {"model": "a b/../c"}, 400, "invalid model name"),
            (
                "/api/embed",
                {"model": "nope", "input": "x"},
                404,
                'model "nope" not found, try pulling it first',
            ),
            (
                "/api/generate",
                {"model": "a:1b", "prompt": "x", "options": {"num_predict": "x"}},
                500,
                'option "num_predict" must be of type integer',
            ),
            (
                "/api/generate",
                {"model": "emb", "prompt": "x"},
                400,
                '"emb" does not support generate',
            ),
            (
                "/api/chat",
                {"model": "a:1b", "messages": CHAT, "tools": [{}]},
                400,
                "registry.ollama.ai/library/a:1b does not support tools",
            ),
            (
                "/api/chat",
                {"model": "a:1b", "messages": CHAT, "think": True},
                400,
                '"a:1b" does not support thinking',
            ),
            (
                "/api/generate",
                {"model": "a:1b", "keep_alive": "soon"},
                400,
                'time: invalid duration "soon"',
            ),
            (
                "/api/embed",
                {"model": "emb", "input": "word " * 9000, "truncate": False},
                400,
                "the input length exceeds the context length",
            ),
        ],
    )
    def test_native_errors(self, sim, path, body, status, text):
        assert sim.call("POST", path, body) == (status, {"error": text})

    def test_compatible_dialects_have_their_own_shapes(self, sim):
        wanted = {"model": "nope", "messages": CHAT, "max_tokens": 1}
        status, answer = sim.call("POST", "/v1/chat/completions", wanted)
        assert (status, answer["error"]["type"]) == (404, "not_found_error")
        status, answer = sim.call("POST", "/v1/messages", wanted)
        assert (status, answer["type"]) == (404, "error")
        assert re.fullmatch("req_[0-9a-f]{24}", answer["request_id"])

    @pytest.mark.parametrize(
        ("method", "path", "status", "extra"),
        [
            ("GET", "/nope", 404, "Content-Length: 18"),
            ("GET", "/api/generate", 405, "Allow: POST"),
            ("POST", "/api/tags", 405, "Allow: HEAD, GET"),
            ("GET", "//api/tags", 307, "Location: /api/tags"),
            ("GET", "/api/tags/", 301, "Location: /api/tags"),
            ("POST", "/api/generate/", 307, "Location: /api/generate"),
            ("GET", "/v1/models/ns%2Fname", 404, "Content-Type: text/plain"),
            ("GET", "/sim/faults", 404, "Content-Type: text/plain"),
        ],
    )
    def test_paths_that_lead_nowhere(self, sim, method, path, status, extra):
        lines = head_lines(sim.raw(request_bytes(method, path)))
        assert lines[0].startswith(f"HTTP/1.1 {status} ")
        assert extra in lines

    @pytest.mark.parametrize(
        ("header", "status"),
        [
            ("Host: evil.example", 403),
            ("Host: 8.8.8.8", 403),
            ("Host: 127.0.0.1:9", 200),
            ("Host: 192.168.0.9", 200),
            ("Host: box.local", 200),
            ("Origin: http://evil.example", 403),
            ("Origin: http://localhost:3000", 200),
        ],
    )
    def test_foreign_hosts_and_origins_are_refused(self, sim, header, status):
        host = "" if header.startswith("Host") else "Host: localhost\r\n"
        request = f"GET / HTTP/1.1\r\n{host}{header}\r\nConnection: close\r\n\r\n"
        received = sim.raw(request.encode())
        assert int(received.split()[1]) == status
        if status == 403:
            assert received.endswith(b"Content-Length: 0\r\nConnection: close\r\n\r\n")

    def test_the_models_name_is_echoed_as_sent(self, sim):
        assert sim.generate("A:1B")[1]["model"] == "A:1B"
