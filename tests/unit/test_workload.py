"""Workloads are what they say and the same again; answers are believed only when complete."""

import json
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.bench.answers import BadAnswer, body_of, check_for, check_whole, reason_of
from ollama_fleet.bench.demo.stage import Stage, workload
from ollama_fleet.bench.demo.summary import summary, verdict
from ollama_fleet.bench.report import Sample, report
from ollama_fleet.bench.workload import Api, Call, Size, Workload, calls, constant, poisson

MIX = Workload(models=("a", "b", "c"), embedding_models=("e",))


def some(mix, number=2000):
    return list(islice(calls(mix), number))


def call(api=Api.CHAT, *, stream=True, tokens=2):
    return Call(api=api, model="m", prompt="say it", output_tokens=tokens, stream=stream)


def line(**fields):
    return json.dumps(fields).encode()


# -- workloads -------------------------------------------------------------------------------------


@given(st.integers())
def test_a_seed_makes_the_same_requests_again(seed):
    mix = Workload(models=("a", "b"), embedding_models=("e",), seed=seed)
    assert some(mix, 30) == some(mix, 30)


def test_another_seed_makes_other_requests():
    assert some(MIX, 50) != some(Workload(models=MIX.models, seed=1), 50)


def test_shares_are_kept():
    seen = some(MIX, 4000)
    generated = [c for c in seen if c.api is not Api.EMBED]
    openai = [c for c in generated if c.api.value.startswith("/v1")]
    assert 1 - len(generated) / len(seen) == pytest.approx(MIX.embedding_share, abs=0.02)
    assert len(openai) / len(generated) == pytest.approx(MIX.openai_share, abs=0.03)
    streams = sum(c.stream for c in generated)
    assert streams / len(generated) == pytest.approx(MIX.stream_share, abs=0.03)
    assert {c.api for c in seen} == set(Api)


def test_the_nth_model_is_asked_1_nth_as_often():
    asked = Counter(c.model for c in some(MIX, 8000) if c.api is not Api.EMBED)
    assert asked["a"] / asked["b"] == pytest.approx(2, rel=0.15)
    assert asked["a"] / asked["c"] == pytest.approx(3, rel=0.15)


def test_only_embedding_models_are_asked_for_embeddings():
    assert {c.model for c in some(MIX) if c.api is Api.EMBED} == {"e"}
    assert not any(c.api is Api.EMBED for c in some(Workload(models=("a",))))


@given(st.tuples(st.integers(1, 9), st.integers(9, 20)), st.tuples(st.integers(1, 5), st.just(7)))
def test_sizes_stay_within_their_bounds(words, tokens):
    size = Size(prompt_words=words, output_tokens=tokens)
    for one in some(Workload(models=("a",), short=size, long=size), 50):
        assert words[0] <= len(one.prompt.split()) <= words[1]
        assert tokens[0] <= one.output_tokens <= tokens[1]


def test_a_workload_without_a_model_is_refused():
    with pytest.raises(ValueError, match="at least one model"):
        next(calls(Workload(models=())))


@given(st.floats(0.1, 100), st.integers())
def test_poisson_arrivals_come_in_order_at_their_rate(rate_per_s, seed):
    times = list(islice(poisson(rate_per_s, seed), 2000))
    assert times == sorted(times)
    assert times == list(islice(poisson(rate_per_s, seed), 2000))
    assert len(times) / times[-1] == pytest.approx(rate_per_s, rel=0.15)


def test_constant_arrivals_do_not_drift():
    assert list(islice(constant(10), 4)) == [0.0, 0.1, 0.2, 0.3]
    assert next(islice(constant(10), 100_000, None)) == 10_000


# -- requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "body"),
    [
        (
            Api.CHAT,
            {"messages": [{"role": "user", "content": "say it"}], "options": {"num_predict": 2}},
        ),
        (Api.GENERATE, {"prompt": "say it", "options": {"num_predict": 2}}),
        (
            Api.OPENAI_CHAT,
            {
                "messages": [{"role": "user", "content": "say it"}],
                "max_tokens": 2,
                "stream_options": {"include_usage": True},
            },
        ),
        (
            Api.OPENAI_COMPLETION,
            {"prompt": "say it", "max_tokens": 2, "stream_options": {"include_usage": True}},
        ),
    ],
)
def test_a_call_is_written_as_its_api_wants_it(api, body):
    assert body_of(call(api)) == {"model": "m", "stream": True, **body}


def test_an_embedding_is_asked_for_with_nothing_but_its_input():
    assert body_of(call(Api.EMBED, stream=False)) == {"model": "m", "input": "say it"}


# -- answers ---------------------------------------------------------------------------------------

TOKEN = line(model="m", response=" a", done=False)
DONE = line(model="m", response="", done=True, eval_count=2)
DELTA = b"data: " + line(choices=[{"index": 0, "delta": {"content": "a"}, "finish_reason": None}])
STOP = b"data: " + line(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
USAGE = b"data: " + line(choices=[], usage={"completion_tokens": 2})
OVER = b"data: [DONE]"


def follow(lines, api=Api.CHAT, *, exact=True):
    check = check_for(call(api), exact=exact)
    for one in lines:
        check.line(one)
    return check.end()


@pytest.mark.parametrize("exact", [True, False])
def test_a_complete_stream_reports_its_tokens(exact):
    assert follow([TOKEN, TOKEN, DONE], exact=exact) == 2
    events = [DELTA, b"", DELTA, b"", STOP, b"", USAGE, b"", OVER, b""]
    assert follow(events, Api.OPENAI_CHAT, exact=exact) == 2


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "without its last record"),
        ([TOKEN, TOKEN], "without its last record"),
        ([TOKEN, DONE], "2 tokens are reported, 1 records came"),
        ([TOKEN, TOKEN, TOKEN, DONE], "2 tokens are reported, 3 records came"),
        ([TOKEN, line(error="runner died")], "error in mid-stream: runner died"),
        ([TOKEN, TOKEN, DONE, TOKEN], "after the last one"),
        ([TOKEN[:-3]], "not the JSON"),
        ([b""], "not the JSON"),
        ([line(done="yes")], "not the JSON"),
    ],
)
def test_an_incomplete_stream_of_records_is_told(lines, reason):
    with pytest.raises(BadAnswer, match=reason):
        follow(lines)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], r"without \[DONE\]"),
        ([DELTA, DELTA, STOP, USAGE], r"without \[DONE\]"),
        ([DELTA, DELTA, USAGE, OVER], "no finish_reason"),
        ([DELTA, DELTA, STOP, OVER], "no usage"),
        ([DELTA, STOP, USAGE, OVER], "2 tokens are reported, 1 records came"),
        ([OVER, DELTA], "after"),
        ([b'data: {"error": {"message": "runner died"}}'], "error in mid-stream"),
        ([b"event: ping"], "not an event"),
        ([b"data: {"], "not the JSON"),
    ],
)
def test_an_incomplete_stream_of_events_is_told(lines, reason):
    with pytest.raises(BadAnswer, match=reason):
        follow(lines, Api.OPENAI_COMPLETION)


def test_a_real_server_may_hold_tokens_back_but_not_report_none():
    assert follow([TOKEN, DONE], exact=False) == 2
    with pytest.raises(BadAnswer, match="no token is reported"):
        follow([TOKEN, line(done=True)], exact=False)


def test_a_whole_answer_reports_its_tokens():
    assert check_whole(call(), DONE) == 2
    openai = line(choices=[{"finish_reason": "length"}], usage={"completion_tokens": 2})
    assert check_whole(call(Api.OPENAI_CHAT), openai) == 2
    assert check_whole(call(Api.EMBED), line(embeddings=[[0.5]])) == 0


@pytest.mark.parametrize(
    ("api", "body"),
    [
        (Api.GENERATE, TOKEN),
        (Api.GENERATE, DONE + DONE),
        (Api.GENERATE, b""),
        (Api.OPENAI_CHAT, line(choices=[])),
        (Api.OPENAI_CHAT, line(choices=[{"finish_reason": None}], usage={})),
        (Api.OPENAI_CHAT, line(choices=[{"finish_reason": "stop"}])),
        (Api.EMBED, line(embeddings=[])),
        (Api.EMBED, line(embeddings=[[]])),
        (Api.EMBED, line(embeddings=["no"])),
    ],
)
def test_a_whole_answer_that_is_not_complete_is_told(api, body):
    with pytest.raises(BadAnswer):
        check_whole(call(api), body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error":"server busy"}', "server busy"),
        (b'{"error":{"message":"no such model","type":"x"}}', "no such model"),
        (b"404 page not found", "404 page not found"),
        (b"[1]", "[1]"),
        (b"\xff", "\ufffd"),
        (b"x" * 500, "x" * 120 + "…"),
    ],
)
def test_reasons_are_read_from_any_api_and_cut(body, reason):
    assert reason_of(body) == reason


# -- reports ---------------------------------------------------------------------------------------


def test_a_report_counts_complete_answers_and_names_the_reasons_of_others():
    samples = [
        Sample(latency_s=0.2, ttft_s=0.1, output_tokens=5, instance="b"),
        Sample(latency_s=0.4, output_tokens=7, instance="a"),
        Sample(latency_s=0.3, output_tokens=0, instance="b"),
        Sample(latency_s=9.0, ttft_s=8.0, instance="a", error="cut"),
        Sample(latency_s=9.0, error="late"),
        Sample(latency_s=9.0, error="cut"),
    ]
    made = report(samples)
    assert made.document(simulated=True) == {
        "requests": 6,
        "errors": 3,
        "tokens": 12,
        "ttft_ms": {"p50": 100.0, "p99": 100.0},
        "latency_ms": {"p50": 300.0, "p99": 400.0},
        "instances": [
            {"name": "a", "requests": 1, "share": 0.3333},
            {"name": "b", "requests": 2, "share": 0.6667},
        ],
        "simulated": True,
    }
    assert list(made.reasons.items()) == [("cut", 2), ("late", 1)]


def test_no_request_has_no_times():
    document = report([]).document(simulated=False)
    assert document["latency_ms"] == {"p50": None, "p99": None}
    assert document["instances"] == []


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=300))
def test_quantiles_are_times_that_were_measured_in_order(times_s):
    times = report([Sample(latency_s=t) for t in times_s]).latency_ms
    measured = {round(t * 1000, 1) for t in times_s}
    assert {times.p50, times.p99} <= measured
    assert min(measured) <= times.p50 <= times.p99 <= max(measured)


def test_the_99th_percentile_of_a_hundred_is_the_99th():
    times = report([Sample(latency_s=n / 1000) for n in range(1, 101)]).latency_ms
    assert (times.p50, times.p99) == (50.0, 99.0)


# -- the demo --------------------------------------------------------------------------------------

GOOD = Sample(latency_s=0.2, ttft_s=0.1, output_tokens=5, instance="gpu0")
TAGS = [
    {"name": "small:1b", "size": 1, "details": {"family": "llama"}},
    {"name": "big:8b", "size": 8, "details": {"family": "qwen3"}},
    {"name": "embed", "size": 0, "details": {"family": "nomic-bert"}},
    {"name": "far:cloud", "size": 0, "details": {}, "remote_model": "far"},
]


@pytest.mark.parametrize(
    ("samples", "simulated", "reason"),
    [
        ([GOOD, Sample(latency_s=0.2, instance="gpu1")], True, ""),
        ([GOOD], False, ""),
        ([GOOD], True, "fewer than two instances"),
        ([], True, "no request"),
        ([GOOD, Sample(latency_s=1, error="cut")], False, "1 of 2 requests failed"),
    ],
)
def test_a_demo_succeeds_only_without_errors_and_on_two_instances(samples, simulated, reason):
    said = verdict(report(samples), simulated=simulated)
    assert said.startswith(reason)
    assert bool(said) == bool(reason)


def test_the_summary_tells_what_the_report_has():
    text = summary(report([GOOD, Sample(latency_s=1, error="the answer was cut off")]))
    assert "2 requests, 1 errors, 5 tokens, instances that served: 1" in text
    assert "1 x the answer was cut off" in text
    assert [line.split() for line in text.splitlines()[-2:]] == [
        ["INSTANCE", "REQUESTS", "SHARE"],
        ["gpu0", "1", "100.0%"],
    ]


def test_a_real_demo_asks_the_smallest_model_a_simulated_one_all():
    real = workload(Stage("real"), TAGS, 1)
    assert (real.models, real.embedding_models) == (("small:1b",), ())
    simulated = workload(Stage("simulated", simulate="4-mixed"), TAGS, 1)
    assert (simulated.models, simulated.embedding_models) == (("big:8b", "small:1b"), ("embed",))


def test_a_demo_without_a_model_of_its_own_has_no_workload():
    assert workload(Stage("real"), TAGS[2:], 1) is None
