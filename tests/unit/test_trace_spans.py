"""The spans of a request: who is whose parent, when, and what they say."""

import random

import pytest
from made_records import made

from ollama_fleet.api.relayed import READINGS
from ollama_fleet.history import Ending
from ollama_fleet.tracing import Sampling, Traces
from ollama_fleet.tracing.spans import OPERATIONS, Kind, spans

BEGAN_S = 50.0  # by the router's clock; by the wall's, made() arrives at 1000


def traced(*tries, headers=()):
    """A trace with attempts `(base URL, seconds from arrival to begin, and to end)`."""
    trace = Traces(Sampling(), random.Random(1)).begin(headers, BEGAN_S)
    for url, began_s, ended_s in tries:
        trace.attempt(url, BEGAN_S + began_s)
        trace.attempt_ended(BEGAN_S + ended_s)
    return trace


ONCE = (("http://127.0.0.1:11435", 0.5, 4.75),)
TWICE = (("http://127.0.0.1:11435", 0.25, 0.5), ("https://attic.lan", 0.5, 4.75))


def retried(**changes):
    usual = {"tried": ("gpu0", "attic"), "attempts": 2, "failures": ("ConnectFailed",)}
    return made(**{**usual, "instance": "attic", **changes})


def ns(seconds):
    return round(seconds * 1e9)


def test_a_request_has_a_server_span_and_its_attempts_are_client_spans_below_it():
    trace = traced(*TWICE)
    request, first, second = spans(trace, retried())
    assert [span.kind for span in (request, first, second)] == [
        Kind.SERVER,
        Kind.CLIENT,
        Kind.CLIENT,
    ]
    assert {span.trace_id for span in (request, first, second)} == {trace.trace_id}
    assert (first.parent_id, second.parent_id) == (request.span_id, request.span_id)
    assert len({span.span_id for span in (request, first, second)}) == 3
    assert request.parent_id == 0


def test_the_clients_span_is_the_parent_of_the_requests():
    trace = traced(*ONCE, headers=((b"traceparent", b"00-%032x-%016x-01" % (7, 9)),))
    request, attempt = spans(trace, made())
    assert (request.trace_id, request.parent_id, request.remote_parent) == (7, 9, True)
    assert not attempt.remote_parent
    assert request.flags == attempt.flags == 1, "whoever reads them sees that both are sampled"


def test_spans_stand_at_their_times():
    request, first, second = spans(traced(*TWICE), retried())
    assert (request.start_ns, request.end_ns) == (ns(1000), ns(1004.75))
    assert (first.start_ns, first.end_ns) == (ns(1000.25), ns(1000.5))
    assert (second.start_ns, second.end_ns) == (ns(1000.5), ns(1004.75))
    assert (first.events, second.events) == ((), (("first_byte", ns(1000.75)),))


def test_an_attempt_that_was_answered_says_what_the_conventions_name():
    _, attempt = spans(traced(*ONCE), made())
    assert attempt.name == "chat Qwen3:8b"
    assert attempt.attributes == {
        "server.address": "127.0.0.1",
        "server.port": 11435,
        "http.request.method": "POST",
        "url.full": "http://127.0.0.1:11435/api/chat",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ollama",
        "gen_ai.request.model": "Qwen3:8b",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "qwen3:8b",
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 300,
        "gen_ai.usage.output_tokens": 20,
        "ollama_fleet.instance": "gpu0",
        "ollama_fleet.reported_load_seconds": 0.03,
        "ollama_fleet.prefill_seconds": 0.25,
        "ollama_fleet.decode_seconds": 4.0,
    }
    assert not attempt.failed


def test_a_request_says_where_its_seconds_went_and_leaves_tokens_to_the_attempt():
    """Tokens on two spans of a trace would be counted twice by those who sum them."""
    request, _ = spans(traced(*ONCE), made(load_s=0.125))
    assert request.name == "POST /api/chat"
    told = request.attributes
    assert (told["ollama_fleet.queue_seconds"], told["ollama_fleet.load_seconds"]) == (0.5, 0.125)
    assert (told["ollama_fleet.request_id"], told["ollama_fleet.model"]) == ("r1", "qwen3:8b")
    assert (told["http.response.status_code"], told["ollama_fleet.ending"]) == (200, "completed")
    assert not [name for name in told if name.startswith("gen_ai.")]
    assert "error.type" not in told


def test_an_attempt_that_failed_says_why_and_has_no_answer():
    _, first, second = spans(traced(*TWICE), retried())
    assert first.failed
    assert first.attributes["error.type"] == "ConnectFailed"
    assert "http.response.status_code" not in first.attributes
    assert "gen_ai.usage.input_tokens" not in first.attributes
    assert second.attributes["http.request.resend_count"] == 1
    assert (second.attributes["server.address"], second.attributes["server.port"]) == (
        "attic.lan",
        443,
    )
    assert "error.type" not in second.attributes


def test_a_request_whose_every_attempt_failed_has_no_attempt_with_an_answer():
    """The last one failed too, and there was no other place: its own failure stands there."""
    record = retried(
        failures=("ConnectFailed", "Overloaded"),
        status=503,
        ending=Ending.REFUSED,
        error="QueueFull: no room",
        first_byte_s=0.0,
    )
    request, first, second = spans(traced(*TWICE), record)
    errors = [span.attributes["error.type"] for span in (request, first, second)]
    assert errors == ["503", "ConnectFailed", "Overloaded"]
    assert request.failed


@pytest.mark.parametrize(
    ("changes", "of_request", "of_attempt"),
    [
        ({"status": 404, "ending": Ending.REFUSED}, (None, False), ("404", True)),
        ({"status": 500, "ending": Ending.REFUSED}, ("500", True), ("500", True)),
        (
            {"ending": Ending.BROKEN, "error": "StreamBroken: gpu0 was lost"},
            ("broken", True),
            ("StreamBroken", True),
        ),
        ({"ending": Ending.INCOMPLETE}, ("incomplete", True), ("incomplete", True)),
        (
            {"ending": Ending.CLIENT_GONE, "error": "CancelledError"},
            ("client_gone", False),
            ("client_gone", False),
        ),
        (
            {
                "status": 504,
                "ending": Ending.REFUSED,
                "error": "FirstByteTimeout: no byte",
                "first_byte_s": 0.0,
            },
            ("504", True),
            ("FirstByteTimeout", True),
        ),
    ],
    ids=["not found", "server error", "broken", "no end mark", "client gone", "no answer"],
)
def test_what_went_wrong_is_told_on_either_side(changes, of_request, of_attempt):
    """What is the client's own doing is no failure of the fleet's span."""
    request, attempt = spans(traced(*ONCE), made(**changes))
    assert (request.attributes.get("error.type"), request.failed) == of_request
    assert (attempt.attributes.get("error.type"), attempt.failed) == of_attempt


def test_a_request_that_found_no_place_has_no_attempts():
    record = made(
        tried=(), attempts=0, instance="", status=503, ending=Ending.REFUSED, first_byte_s=0.0
    )
    (request,) = spans(traced(), record)
    assert request.attributes["error.type"] == "503"
    assert "ollama_fleet.instance" not in request.attributes


def test_what_runs_no_model_is_no_operation_of_one():
    record = made(route="/api/show", inference=False, stream=False)
    _, attempt = spans(traced(*ONCE), record)
    assert attempt.name == "POST /api/show"
    assert not [name for name in attempt.attributes if name.startswith("gen_ai.")]


def test_every_route_that_runs_a_model_has_its_operation():
    assert set(OPERATIONS) == set(READINGS)


def test_figures_that_nobody_reported_are_left_out():
    record = made(prompt_tokens=0, output_tokens=0, reported_prefill_s=0.0, stream=False)
    _, attempt = spans(traced(*ONCE), record)
    left_out = {
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "ollama_fleet.prefill_seconds",
        "gen_ai.response.time_to_first_chunk",
    }
    assert not left_out & set(attempt.attributes)


def test_what_a_client_calls_a_model_is_bounded():
    _, attempt = spans(traced(*ONCE), made(model="m" * 10_000, key="/" * 10_000))
    assert attempt.name == f"chat {'m' * 200}"
    models = [value for name, value in attempt.attributes.items() if name.endswith(".model")]
    assert [len(model) for model in models] == [200, 200]


def test_a_name_that_is_none_is_told_as_it_is():
    _, attempt = spans(traced(*ONCE), made(key="what/is/this/for/a/name"))
    assert attempt.attributes["gen_ai.response.model"] == "what/is/this/for/a/name"
