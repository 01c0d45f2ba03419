import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import KEY, Clock, made
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import DuplicateTimeseries
from snapshot_fixtures import fleet, gpu, instance

from ollama_fleet.api.app import ROUTES
from ollama_fleet.history import Bounds, Ending, History
from ollama_fleet.metrics import Metrics
from ollama_fleet.metrics.labels import MAX_MODELS, NONE, OTHER, ModelLabels, RouteLabels, as_cause
from ollama_fleet.metrics.tallies import Counters, Histograms
from ollama_fleet.state import Health, Phase

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
MODEL = "qwen3:8b"
KINDS = {"counter", "gauge", "histogram"}
UNITS = ("seconds", "bytes", "ratio", "celsius", "watts")
NOT_BASE_UNITS = re.compile(
    r"(milli|micro|nano)seconds|minutes|hours|_ms_|[kmg]i?b_|(kilo|mega|giga|kibi|mebi|gibi)bytes"
    r"|percent|fahrenheit|milliwatts|joules_per"
)


def made_metrics(history=None):
    return Metrics(known=lambda key: key.startswith("reg"), routes=ROUTES, history=history)


@pytest.fixture
def metrics():
    return made_metrics()


@pytest.fixture
def full(tmp_path):
    """Metrics of which each family has a series."""
    history = History(tmp_path / "h.db", Bounds(1, 1, 1.0), clock=Clock(), wall=Clock())
    history.close()
    metrics = made_metrics(history)
    metrics.observe(made(attempts=2, tried=("a", "gpu0"), failures=("Overloaded",)))
    metrics.answered("/api/tags", 200)
    return metrics


def families(metrics, snapshot=None):
    body, _ = metrics.render(snapshot or fleet(1))
    return list(parse_text(body.decode()))


def samples(metrics, name, snapshot=None):
    """The samples of a name; the key is the values of their labels by the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families(metrics, snapshot)
        for sample in family.samples
        if sample.name == f"ollama_fleet_{name}"
    }


def spread(metrics, name):
    """How many values a histogram of the model took, and their sum; None where there is none."""
    counts, sums = (samples(metrics, f"{name}_{part}") for part in ("count", "sum"))
    return (counts[MODEL,], sums[MODEL,]) if counts else None


# -- names and format --------------------------------------------------------------------------


def test_the_page_is_prometheus_text_for_whoever_asks_for_nothing_else(full):
    body, content_type = full.render(fleet(2))
    assert content_type.startswith("text/plain; version=0.0.4")
    names = re.findall(r"(?m)^# TYPE (\S+)", body.decode())
    assert len(names) == len(set(names))


def test_the_page_is_open_metrics_for_whoever_asks_for_that(full):
    """The parser is strict: order, buckets, counts, duplicates."""
    body, content_type = full.render(fleet(2), OPEN_METRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert len(list(parse_open(body.decode()))) == len(families(full))


def test_names_say_what_and_in_which_base_unit(full):
    for family in families(full):
        name = family.name
        assert re.fullmatch(r"(ollama_fleet|process)(_[a-z0-9]+)+", name)
        assert not NOT_BASE_UNITS.search(f"{name}_"), name
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_created")), name
        assert family.type in KINDS, name
        assert family.type not in name.split("_"), name
        assert family.type != "histogram" or name.endswith(UNITS), name


def test_only_counters_end_in_total(full):
    for family in families(full):
        ends = {sample.name.endswith("_total") for sample in family.samples}
        assert ends == {family.type == "counter"}, family.name


def test_every_metric_has_a_series_and_one_sentence_of_help(full):
    for family in families(full):
        assert family.samples, family.name
        if family.name.startswith("ollama_fleet"):
            assert re.fullmatch(r"[A-Z1][^.]*\.", family.documentation), family.documentation


def test_one_name_has_one_set_of_labels(full):
    for family in families(full):
        sets = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert len(sets) == 1, family.name


def test_two_families_cannot_have_one_name():
    registry = CollectorRegistry()
    Counters(registry, "a_total", "A.", ())
    with pytest.raises(DuplicateTimeseries):
        Histograms(registry, "a", "A.", (), (1.0,))


def test_nothing_is_counted_outside(full):
    """Two fleets in one process have two sets of counters, and the library's own has none."""
    assert samples(made_metrics(), "requests_total") == {}
    assert samples(full, "requests_total") != {}
    assert not [f for f in REGISTRY.collect() if f.name.startswith("ollama_fleet")]


# -- what a request adds -----------------------------------------------------------------------


def test_a_request_is_counted_once_by_what_it_was_and_where_it_went(metrics):
    metrics.observe(made())
    assert samples(metrics, "requests_total") == {(MODEL, "completed", "/api/chat"): 1}
    assert samples(metrics, "http_responses_total") == {("/api/chat", "200"): 1}
    assert samples(metrics, "attempts_total") == {("gpu0", "completed"): 1}
    assert samples(metrics, "decisions_total") == {("least_conn",): 1}
    assert samples(metrics, "retries_total") == {}
    assert samples(metrics, "prompt_tokens_total") == {("gpu0", MODEL): 300}
    assert samples(metrics, "generation_tokens_total") == {("gpu0", MODEL): 20}
    assert samples(metrics, "request_body_bytes_total") == {("/api/chat",): 1_500}
    assert samples(metrics, "response_body_bytes_total") == {("/api/chat",): 4_000}


def test_its_times_are_counted_part_by_part(metrics):
    metrics.observe(made(load_s=2.0))
    assert spread(metrics, "request_queue_time_seconds") == (1, 0.5)
    assert spread(metrics, "request_load_time_seconds") == (1, 2.03)
    assert spread(metrics, "request_prefill_time_seconds") == (1, 0.25)
    assert spread(metrics, "request_decode_time_seconds") == (1, 4.0)
    assert spread(metrics, "time_to_first_token_seconds") == (1, 0.75)
    assert spread(metrics, "e2e_request_latency_seconds") == (1, 4.75)
    assert spread(metrics, "time_per_output_token_seconds") == (1, 0.2)


def test_every_try_counts_where_it_was_made(metrics):
    tried, failures = ("a", "b", "gpu0"), ("ConnectFailed", "Overloaded")
    metrics.observe(made(attempts=3, tried=tried, failures=failures))
    assert samples(metrics, "attempts_total") == {
        ("a", "connect_failed"): 1,
        ("b", "overloaded"): 1,
        ("gpu0", "completed"): 1,
    }
    assert samples(metrics, "retries_total") == {("connect_failed",): 1, ("overloaded",): 1}
    assert samples(metrics, "decisions_total") == {("least_conn",): 3}
    assert samples(metrics, "requests_total") == {(MODEL, "completed", "/api/chat"): 1}


REFUSED = {"ending": Ending.REFUSED, "first_byte_s": 0.0, "output_tokens": 0, "prompt_tokens": 0}


def test_what_found_no_place_waited_and_was_answered_by_us(metrics):
    """The answer is told by whoever gives it, so that it is not counted twice."""
    error = "QueueTimeout: no slot came free"
    metrics.observe(
        made(**REFUSED, status=503, error=error, instance="", attempts=0, tried=(), queue_s=120.0)
    )
    metrics.answered("/api/chat", 503)
    assert samples(metrics, "http_responses_total") == {("/api/chat", "503"): 1}
    assert samples(metrics, "requests_total") == {(MODEL, "refused", "/api/chat"): 1}
    assert samples(metrics, "attempts_total") == samples(metrics, "decisions_total") == {}
    assert samples(metrics, "generation_tokens_total") == {}
    assert spread(metrics, "request_queue_time_seconds") == (1, 120.0)
    assert spread(metrics, "e2e_request_latency_seconds") is None


def test_an_instances_refusal_is_its_own_answer_and_no_measure_of_speed(metrics):
    metrics.observe(made(**REFUSED, status=404))
    assert samples(metrics, "http_responses_total") == {("/api/chat", "404"): 1}
    assert samples(metrics, "attempts_total") == {("gpu0", "refused"): 1}
    assert spread(metrics, "time_to_first_token_seconds") is None
    assert spread(metrics, "e2e_request_latency_seconds") is None


@pytest.mark.parametrize("ending", [Ending.BROKEN, Ending.CLIENT_GONE])
def test_an_answer_that_was_cut_has_a_first_token_but_no_end(metrics, ending):
    metrics.observe(made(ending=ending, error="StreamBroken: it was lost"))
    assert samples(metrics, "http_responses_total") == {("/api/chat", "200"): 1}
    assert spread(metrics, "time_to_first_token_seconds") == (1, 0.75)
    assert spread(metrics, "e2e_request_latency_seconds") is None


def test_whoever_left_before_an_answer_was_given_none(metrics):
    metrics.observe(made(ending=Ending.CLIENT_GONE, status=0, first_byte_s=0.0))
    assert samples(metrics, "requests_total") == {(MODEL, "client_gone", "/api/chat"): 1}
    assert samples(metrics, "http_responses_total") == {}


def test_metadata_has_no_times_and_no_tokens(metrics):
    metrics.observe(made(route="/api/show", inference=False, stream=False))
    assert samples(metrics, "requests_total") == {(MODEL, "completed", "/api/show"): 1}
    assert spread(metrics, "e2e_request_latency_seconds") is None
    assert samples(metrics, "prompt_tokens_total") == {}


def test_an_answer_in_one_piece_has_no_first_token(metrics):
    metrics.observe(made(stream=False))
    assert spread(metrics, "time_to_first_token_seconds") is None
    assert spread(metrics, "e2e_request_latency_seconds") == (1, 4.75)


def test_where_an_instance_tells_no_times_the_pace_is_by_our_clock(metrics):
    metrics.observe(made(reported_decode_s=0.0, output_tokens=21))
    assert spread(metrics, "time_per_output_token_seconds") == (1, 0.2)
    metrics.observe(made(reported_decode_s=0.0, output_tokens=1))
    assert spread(metrics, "time_per_output_token_seconds") == (1, 0.2)


@given(st.lists(st.floats(0, 2_000)))
def test_a_bucket_holds_what_is_not_above_its_bound(values):
    registry = CollectorRegistry()
    bounds = (0.5, 1.0, 1_000.0)
    series = Histograms(registry, "a_seconds", "A.", ("model",), bounds).of["m",]
    for value in values:
        series.observe(value)
    (family,) = registry.collect()
    found = {s.labels["le"]: s.value for s in family.samples if s.name == "a_seconds_bucket"}
    expected = [sum(value <= bound for value in values) for bound in bounds]
    assert list(found.values()) == [*expected, len(values)]
    assert registry.get_sample_value("a_seconds_sum", {"model": "m"}) == pytest.approx(sum(values))


# -- labels ------------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=8), max_size=300))
def test_models_make_no_more_labels_than_the_bound(keys):
    labels = ModelLabels(lambda key: len(key) % 2 == 1)
    found = {labels.label(key) for key in keys}
    assert len(found) <= MAX_MODELS + 2
    assert {labels.label(key) for key in keys if len(key) % 2 == 0 and key} <= {OTHER}


def test_beyond_the_bound_models_share_a_label():
    labels = ModelLabels(lambda _: True)
    found = [labels.label(f"registry.ollama.ai/library/m{n}:8b") for n in range(MAX_MODELS + 50)]
    assert found[:2] == ["m0:8b", "m1:8b"]
    assert len(set(found)) == MAX_MODELS + 1
    assert found[MAX_MODELS:] == [OTHER] * 50
    assert labels.label("registry.ollama.ai/library/m0:8b") == "m0:8b"


def test_a_model_is_named_once_some_store_has_it():
    known = set()
    labels = ModelLabels(known.__contains__)
    assert labels.label(KEY) == OTHER
    known.add(KEY)
    assert labels.label(KEY) == MODEL
    assert labels.label("") == NONE


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/api/chat", "/api/chat"),
        ("/v1/models/qwen3%3A8b", "/v1/models/:model"),
        ("v1/models/:model", "/v1/models/:model"),
        ("/wp-login.php", OTHER),
        ("/api/chat/x", OTHER),
        ("", OTHER),
    ],
)
def test_a_path_is_named_by_its_route(path, label):
    assert RouteLabels(ROUTES).label(path) == label


def test_a_cause_is_a_failures_name_in_the_words_of_labels():
    assert as_cause("FirstByteTimeout") == "first_byte_timeout"


# -- what a snapshot shows ---------------------------------------------------------------------


def test_gauges_are_the_snapshots(metrics):
    instances = (
        instance(0, in_flight=3, waiting=2, starts=5, slots=8),
        instance(1, phase=Phase.BACKOFF),
        instance(2, health=Health.UNHEALTHY),
    )
    shown = fleet(*instances, waiting=4)

    def gauge(name):
        return samples(metrics, name, shown)

    assert gauge("num_requests_running") == {("gpu0",): 3, ("gpu1",): 2, ("gpu2",): 2}
    assert gauge("num_requests_waiting") == {("gpu0",): 2, ("gpu1",): 0, ("gpu2",): 0}
    assert gauge("queued_requests") == {(): 4}
    assert gauge("instance_slots")["gpu0",] == 8
    assert gauge("instance_healthy") == {("gpu0",): 1, ("gpu1",): 0, ("gpu2",): 0}
    assert gauge("instance_starts_total")["gpu0",] == 5
    assert set(gauge("instance_phase")) == {
        ("gpu0", "ready"),
        ("gpu1", "backoff"),
        ("gpu2", "ready"),
    }
    assert gauge("uptime_seconds") == {(): 800}


def test_a_reading_that_the_driver_does_not_give_is_not_shown(metrics):
    shown = fleet(2, gpus=(gpu(0, power_w=None), gpu(1)))
    assert samples(metrics, "gpu_power_watts", shown) == {("GPU-1",): 100}
    assert samples(metrics, "gpu_utilization_ratio", shown) == {("GPU-0",): 0.25, ("GPU-1",): 0.25}


def test_the_history_says_what_it_kept(full):
    assert samples(full, "history_records_total") == {(): 0}
    assert samples(full, "history_dropped_records_total") == {(): 0}
    assert samples(made_metrics(), "history_records_total") == {}
