"""The jobs of a replay are those that were asked for: made up, from a trace, from the history."""

import random
from itertools import islice, pairwise
from statistics import fmean, median, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import made

from ollama_fleet.errors import FleetError
from ollama_fleet.replay import arrivals, lengths, traces, workload
from ollama_fleet.replay.job import Job
from ollama_fleet.replay.layout import of_profile
from ollama_fleet.replay.learning import learning
from ollama_fleet.replay.measured import layout_of
from ollama_fleet.replay.run import replay
from ollama_fleet.replay.summary import summary
from ollama_fleet.router.strategies import STRATEGIES
from ollama_fleet.sim.ollama.profile import load

MANY = 20_000
LEAST_CONN = STRATEGIES["least_conn"]


def drawn(draw):
    rng = random.Random(1)
    return [draw(rng) for _ in range(MANY)]


# -- lengths and times -----------------------------------------------------------------------------


def test_prompts_are_a_quarter_of_the_public_conversation_traces():
    tokens = drawn(lengths.CONVERSATION_PROMPT)
    assert median(tokens) == pytest.approx(187.4, rel=0.03)  # e ** 5.233
    assert min(tokens) >= 8
    assert max(tokens) <= 8000


def test_answers_are_short_ones_and_long_ones_as_in_the_trace():
    """62 % around 90 tokens, 38 % around 415; few between."""
    tokens = drawn(lengths.CONVERSATION_OUTPUT)
    assert fmean(tokens) == pytest.approx(0.62 * 102.0 + 0.38 * 415, rel=0.02)
    assert sum(n > 330 for n in tokens) / MANY == pytest.approx(0.38, abs=0.02)
    assert min(tokens) >= 4
    assert max(tokens) <= 1000


@pytest.mark.parametrize(
    ("process", "cv"),
    [
        (arrivals.constant(2.0), 0.0),
        (arrivals.poisson(2.0), 1.0),
        (arrivals.gamma(2.0, 3.0), 3.0),
    ],
)
def test_arrivals_keep_their_rate_and_their_spread(process, cv):
    times = list(islice(process(random.Random(5)), MANY))
    gaps = [b - a for a, b in pairwise(times)]
    assert times == sorted(times)
    assert MANY / times[-1] == pytest.approx(2.0, rel=0.08)
    assert stdev(gaps) / fmean(gaps) == pytest.approx(cv, rel=0.1, abs=1e-6)


def test_another_rate_asks_the_same_sooner():
    """So that loads are compared on the same requests."""
    slow, fast = (
        workload.independent(50, arrivals.poisson(rate), {"a": 0.5, "b": 0.5}, seed=4)
        for rate in (1.0, 2.0)
    )
    for one, other in zip(slow, fast, strict=True):
        assert one.arrival_s == pytest.approx(2 * other.arrival_s)
        assert (one.model, one.prompt_tokens, one.output_tokens) == (
            other.model,
            other.prompt_tokens,
            other.output_tokens,
        )


def test_workloads_put_together_keep_their_texts_apart():
    talks = [
        workload.conversations(
            2, 3, arrivals.poisson(1.0), "a", seed=seed, think_s=lambda _rng: 1.0
        )
        for seed in (1, 2)
    ]
    jobs = workload.together(*talks)
    assert len({job.text for job in jobs}) == 4
    for job in jobs:
        if job.follows is not None:
            assert jobs[job.follows].text == job.text


def test_the_capacity_of_the_mixed_box_is_what_the_targets_go_by():
    capacity_per_s = of_profile(load("4-mixed")).capacity_per_s(290.0, 216.0, 0.02)
    assert capacity_per_s == pytest.approx(3.12, rel=0.01)


# -- traces ----------------------------------------------------------------------------------------


def written(tmp_path, text):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    return path


def test_azures_traces_are_read_as_they_are(tmp_path):
    path = written(
        tmp_path,
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:50.9951690,396,109\n"
        "2023-11-16 18:15:46.6805900,374,44\n",
    )
    one, two = traces.read_trace(path, "m")
    assert (one.arrival_s, one.model, one.prompt_tokens, one.output_tokens) == (0.0, "m", 374, 44)
    assert two.arrival_s == pytest.approx(4.314579, abs=1e-6)
    assert one.text != two.text


def test_a_trace_may_name_models_and_tenants_and_count_seconds(tmp_path):
    text = "prompt_tokens, time, model, output tokens, tenant\n10,1.5,a,20,x\n\n30,3,,40,\n"
    one, two = traces.read_trace(written(tmp_path, text), "other")
    assert (one.model, one.tenant, one.arrival_s) == ("a", "x", 0.0)
    assert (two.model, two.tenant, two.arrival_s) == ("other", "", 1.5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no column for time, prompt, output"),
        ("time,prompt_tokens\n1,2\n", ":1: no column for output"),
        ("time,prompt_tokens,output_tokens\n", "no request in it"),
        ("time,prompt_tokens,output_tokens\n1,2,3\nsoon,2,3\n", ":3: .*soon"),
        ("time,prompt_tokens,output_tokens\n1,2\n", ":2: "),
    ],
)
def test_a_trace_that_cannot_be_read_is_told_with_its_line(tmp_path, text, reason):
    with pytest.raises(FleetError, match=reason):
        traces.read_trace(written(tmp_path, text), "m")


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=20, unique=True), st.floats(0.1, 50.0))
def test_a_trace_at_another_rate_keeps_its_shape(times, rate_per_s):
    jobs = [Job(at_s - min(times), "m", 1, 1, 0) for at_s in sorted(times)]
    paced = traces.at_rate(jobs, rate_per_s)
    assert len(paced) / paced[-1].arrival_s == pytest.approx(rate_per_s)
    factor = paced[-1].arrival_s / jobs[-1].arrival_s
    assert [j.arrival_s for j in paced] == pytest.approx([j.arrival_s * factor for j in jobs])


# -- the history -----------------------------------------------------------------------------------


def ran(number, at_s, *, instance="gpu-0", busy=1, prompt=100, output=50, **more):
    """A record of an instance with 1 ms per prompt token and d(n) = 10 ms + 10 ms n."""
    prefill_s, decode_s = prompt / 1000, (output - 1) * (0.01 + 0.01 * busy)
    return made(
        id=str(number),
        instance=instance,
        arrived_s=at_s,
        queue_s=0.0,
        first_byte_s=prefill_s,
        total_s=prefill_s + decode_s,
        prompt_tokens=prompt,
        output_tokens=output,
        records=output + 1,
        reported_prefill_s=prefill_s,
        reported_decode_s=decode_s,
        **more,
    )


def history():
    """Alone on gpu-0, two at a time on gpu-1."""
    rng = random.Random(2)
    alone = [
        ran(n, 100.0 * n, prompt=rng.randint(50, 500), output=rng.randint(20, 80))
        for n in range(60)
    ]
    pairs = [
        ran(100 + n, 100.0 * (n // 2) + 0.001 * (n % 2), instance="gpu-1", busy=2, prompt=200)
        for n in range(60)
    ]
    return [*alone, *pairs]


def test_the_history_is_asked_again_in_order_of_arrival():
    records = [
        ran(1, 1005.0, client="x"),
        ran(2, 1000.0, prompt=7, output=8),
        made(inference=False),
        ran(3, 1001.0, output=0),
    ]
    one, two = traces.from_history(records)
    assert (one.arrival_s, one.prompt_tokens, one.output_tokens) == (0.0, 7, 8)
    assert (two.arrival_s, two.tenant, two.model) == (5.0, "x", "Qwen3:8b")


def test_a_history_of_nothing_is_told():
    with pytest.raises(FleetError, match="no request that ran a model"):
        traces.from_history([made(inference=False)])
    with pytest.raises(FleetError, match="no request that ran a model"):
        layout_of([made(output_tokens=0)])


def test_the_fleet_of_the_history_is_as_fast_as_it_was():
    layout = layout_of(history())
    assert [host.spec.name for host in layout.hosts] == ["gpu-0", "gpu-1"]
    assert [host.spec.slots for host in layout.hosts] == [1, 2]
    weights = next(iter(layout.weights.values()))
    for host, busy in zip(layout.hosts, (1, 2), strict=True):
        rates = host.hardware.of(weights, weights.size_bytes)
        assert rates.decode_s(busy) == pytest.approx(0.01 + 0.01 * busy, rel=0.05)
        assert rates.prefill_s(200) == pytest.approx(0.2, rel=0.1)


def test_the_history_replayed_takes_about_as_long_as_it_took():
    records = [r for r in history() if r.instance == "gpu-0"]
    outcome = replay(layout_of(records), traces.from_history(records), learning(LEAST_CONN))
    took_s = fmean(record.total_s for record in records)
    assert summary(outcome).mean_s == pytest.approx(took_s, rel=0.05)
    assert outcome.loads == 0
