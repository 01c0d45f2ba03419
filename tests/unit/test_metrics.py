import re
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import KEY, Clock, made
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text
from snapshot_fixtures import fleet, gpu, instance, row

from ollama_fleet.api.app import ROUTES
from ollama_fleet.history import Bounds, Ending, History
from ollama_fleet.metrics import Configured, Disk, Metrics, Sources
from ollama_fleet.metrics.catalogue import catalogue
from ollama_fleet.metrics.labels import MAX_MODELS, NONE, OTHER, ModelLabels, RouteLabels, as_cause
from ollama_fleet.metrics.reasons import ONLY_ONE, RETRIED, SCORE, TIE, reason
from ollama_fleet.metrics.tallies import Counters, Histograms
from ollama_fleet.metrics.text import COUNTER, HISTOGRAM, OPEN, PLAIN, Family, number, start
from ollama_fleet.state import Event, Health, Kind, Phase, Pull

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
MODEL = "qwen3:8b"
DISKS = (Disk("/models", free_bytes=10, size_bytes=100),)
KINDS = {"counter", "gauge", "histogram"}
UNITS = ("seconds", "bytes", "ratio", "celsius", "watts")
NOT_BASE_UNITS = re.compile(
    r"(milli|micro|nano)seconds|minutes|hours|_ms_|[kmg]i?b_|(kilo|mega|giga|kibi|mebi|gibi)bytes"
    r"|percent|fahrenheit|milliwatts|joules_per"
)


class SpanCounts(NamedTuple):
    sent: int
    dropped: int


def made_metrics(history=None, models=None):
    return Metrics(
        known=models or (lambda key: key.startswith("reg")),
        routes=ROUTES,
        sources=Sources(Configured(1_795_000_000.5), lambda: 7, history, SpanCounts(5, 2)),
    )


def event(kind, **about):
    return Event(number=1, unix_s=0.0, kind=kind, severity=kind.severity, text="so it was", **about)


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
    metrics.over_budget("UpstreamFailed")
    metrics.lagged(0.002)
    metrics.denied("key")
    metrics.called("ana", made())
    for kind in (Kind.INSTANCE_UNHEALTHY, Kind.INSTANCE_EJECTED, Kind.PULL_ENDED):
        metrics.happened(event(kind, instance="gpu0"))
    step = {"reason": "hang", "stage": "cancel"}
    metrics.happened(event(Kind.INSTANCE_REPAIR, instance="gpu0", figures=step))
    return metrics


def text_of(metrics, snapshot=None, accept=""):
    return "".join(metrics.page(snapshot or fleet(1), accept, DISKS, 3, 86_400.0).pieces)


def families(metrics, snapshot=None):
    return list(parse_text(text_of(metrics, snapshot)))


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
    assert full.page(fleet(2)).content_type.startswith("text/plain; version=0.0.4")
    names = re.findall(r"(?m)^# TYPE (\S+)", text_of(full, fleet(2)))
    assert len(names) == len(set(names))


def test_the_page_is_open_metrics_for_whoever_asks_for_that(full):
    """The parser is strict: order, buckets, counts, duplicates."""
    assert full.page(fleet(2), OPEN_METRICS).content_type.startswith("application/openmetrics-text")
    found = list(parse_open(text_of(full, fleet(2), OPEN_METRICS)))
    assert len(found) == len(families(full))


@pytest.mark.parametrize("form", [PLAIN, OPEN])
@given(
    help_text=st.text(), value=st.text(), figure=st.floats(allow_nan=False) | st.integers(0, 2**63)
)
def test_whatever_a_label_holds_is_read_back(form, help_text, value, figure):
    """Quotation marks, line breaks and backslashes, in labels and in the help."""
    family = Family("a", "gauge", help_text, ("b",))
    text = f"{form.head(family)}{start('a', ('b',), (value,))}{number(figure)}\n{form.end}"
    (found,) = (parse_open if form.is_open else parse_text)(text)
    assert found.samples[0].labels == {"b": value}
    assert float(found.samples[0].value) == float(figure)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_figures_that_are_none_are_said_as_prometheus_says_them(value):
    (family,) = parse_text(f"# TYPE a gauge\na {number(value)}\n")
    assert repr(family.samples[0].value) == repr(value)


def test_no_piece_of_a_page_is_long(full):
    """Whoever makes it can turn to something else after each."""
    for number_ in range(200):
        key = f"registry.ollama.ai/library/m{number_}:8b"
        full.observe(made(key=key, instance=f"gpu{number_ % 16}"))
    shown = fleet(*(instance(n, resident=(row(), row("b"), row("c"))) for n in range(64)))
    pieces = list(full.page(shown, "", DISKS).pieces)
    assert max(piece.count("\n") for piece in pieces) <= 200


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


def test_the_catalogue_has_what_the_page_has(full):
    """In names, kinds and labels; so what is checked against it holds for every page."""
    shown = {
        (sample.name if family.type == COUNTER else family.name, family.type): sample.labels
        for family in families(full)
        for sample in family.samples
    }
    listed = {(family.name, family.kind): family for family in catalogue()}
    assert shown.keys() == listed.keys()
    for key, labels in shown.items():
        bound = {"le"} if key[1] == HISTOGRAM else set()
        if key[0].startswith("ollama_fleet"):
            assert set(labels) - bound == set(listed[key].labels), key


def test_no_two_families_have_one_name():
    names = [family.name for family in catalogue()]
    assert len(names) == len(set(names))


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
    assert samples(metrics, "decisions_total") == {("in_flight", "least_conn"): 1}
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
    assert samples(metrics, "decisions_total") == {
        (RETRIED, "least_conn"): 2,
        ("in_flight", "least_conn"): 1,
    }
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
    bounds = (0.5, 1.0, 1_000.0)
    histograms = Histograms(Family("a_seconds", HISTOGRAM, "A.", ("model",)), bounds)
    series = histograms.of["50%",]
    for value in values:
        series.observe(value)
    text = PLAIN.head(histograms.family) + "".join(histograms.pieces())
    (family,) = parse_text(text)
    found = {s.labels["le"]: s.value for s in family.samples if s.name == "a_seconds_bucket"}
    expected = [sum(value <= bound for value in values) for bound in bounds]
    assert list(found.values()) == [*expected, len(values)]
    (total,) = (s.value for s in family.samples if s.name == "a_seconds_sum")
    assert total == pytest.approx(sum(values))


def test_a_counter_shows_all_its_series():
    counters = Counters(Family("a_total", COUNTER, "A.", ("b",)))
    for at in range(1_000):
        counters.of[str(at),].value += at
    (family,) = parse_text(PLAIN.head(counters.family) + "".join(counters.pieces()))
    assert {int(s.labels["b"]): s.value for s in family.samples} == {n: n for n in range(1_000)}


# -- why a request went where it went ----------------------------------------------------------


def chosen(*scores, terms=("load", "wait"), instance="gpu0"):
    return reason(made(scores=scores, terms=terms, instance=instance))


def test_the_reason_is_the_term_that_spoke_most_for_the_place():
    held, empty = ("gpu0", (3.0, 0.0, 3.0)), ("gpu1", (5.0, 5.0, 0.0))
    assert chosen(held, empty) == "load"
    assert chosen(held, empty, instance="gpu1") == "wait"


def test_the_best_of_the_others_is_what_counts():
    far = ("gpu2", (90.0, 90.0, 0.0))
    assert chosen(("gpu0", (3.0, 2.0, 1.0)), far, ("gpu1", (4.0, 2.0, 2.0))) == "wait"


def test_where_there_is_no_choice_or_no_difference_that_is_the_reason():
    assert chosen(("gpu0", (3.0, 0.0, 3.0))) == ONLY_ONE
    assert chosen() == ONLY_ONE
    assert chosen(("gpu0", (3.0, 0.0, 3.0)), ("gpu1", (3.0, 3.0, 0.0))) == TIE


def test_a_strategy_without_terms_has_its_score_for_a_reason():
    assert chosen(("gpu0", (3.0,)), ("gpu1", (4.0,)), terms=()) == SCORE
    assert chosen(("gpu0", (3.0, 2.0)), ("gpu1", (4.0, 1.0)), terms=("weight",)) == SCORE


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


def test_the_three_gauges_of_an_endpoint_picker_are_there_for_all_and_for_each(metrics):
    """Queued and running requests, and the share of slots in use, of instances that can be used."""
    shown = fleet(
        instance(0, in_flight=3, slots=4),
        instance(1, in_flight=9, slots=4),
        instance(2, in_flight=0, slots=8, phase=Phase.FAILED),
        waiting=7,
    )
    assert samples(metrics, "queued_requests", shown) == {(): 7}
    assert samples(metrics, "running_requests", shown) == {(): 12}
    assert samples(metrics, "kv_cache_utilization_ratio", shown) == {(): 1}
    assert samples(metrics, "kv_cache_usage_perc", shown) == {
        ("gpu0",): 0.75,
        ("gpu1",): 1,
        ("gpu2",): 0,
    }
    idle = fleet(instance(0, in_flight=2, slots=8))
    assert samples(metrics, "kv_cache_utilization_ratio", idle) == {(): 0.25}
    nobody = fleet(instance(0, in_flight=0, phase=Phase.FAILED))
    assert samples(metrics, "kv_cache_utilization_ratio", nobody) == {(): 1}
    assert samples(metrics, "ready", nobody) == {(): 0}
    assert samples(metrics, "ready", idle) == {(): 1}


def test_a_model_in_memory_is_shown_with_where_it_is():
    metrics = made_metrics(models=lambda key: "secret" not in key)
    rows = (
        row("a:8b", size=100, in_vram=100),
        row("b:8b", size=100, in_vram=40),
        row("c:8b", size=100, in_vram=0),
        row("secret:1"),
        row("secret:2"),
        {"name": None},
    )
    shown = fleet(instance(0, resident=rows))
    assert samples(metrics, "model_resident", shown) == {
        ("gpu", "gpu0", "a:8b"): 1,
        ("partial", "gpu0", "b:8b"): 1,
        ("cpu", "gpu0", "c:8b"): 1,
        ("gpu", "gpu0", OTHER): 2,
        ("cpu", "gpu0", "none"): 1,
    }
    found = samples(metrics, "model_memory_bytes", shown)
    assert found["gpu0", "gpu", "b:8b"] == 40
    assert found["gpu0", "cpu", "b:8b"] == 60
    assert found["gpu0", "gpu", OTHER] == 200


def test_which_gpus_an_instance_has_can_be_joined_to_what_they_read(metrics):
    shown = fleet(instance(0, gpus=("GPU-0", "GPU-1")), instance(1, gpus=()))
    assert set(samples(metrics, "instance_gpu_info", shown)) == {
        ("GPU-0", "gpu0"),
        ("GPU-1", "gpu0"),
    }


def test_events_are_counted_by_what_they_are(metrics):
    metrics.happened(event(Kind.INSTANCE_UNHEALTHY, instance="gpu1"))
    metrics.happened(event(Kind.INSTANCE_UNHEALTHY, instance="gpu1"))
    for kind in (Kind.PULL_FAILED, Kind.PULL_STOPPED, Kind.PULL_ENDED, Kind.PULL_ENDED):
        moved = {"moved_bytes": 500} if kind is Kind.PULL_ENDED else {}
        metrics.happened(event(kind, model="qwen3:8b", figures=moved))
    metrics.happened(event(Kind.PULL_STARTED, model="qwen3:8b"))
    step = {"reason": "hang", "stage": "cancel"}
    metrics.happened(event(Kind.INSTANCE_REPAIR, instance="gpu0", figures=step))
    assert samples(metrics, "repairs_total") == {("gpu0", "hang", "cancel"): 1}
    assert samples(metrics, "events_total")["instance_unhealthy", "warning"] == 2
    assert samples(metrics, "events_total")["pull_started", "info"] == 1
    assert samples(metrics, "instance_ejections_total") == {("gpu1",): 2}
    assert samples(metrics, "pulls_total") == {("completed",): 2, ("failed",): 1, ("stopped",): 1}
    assert samples(metrics, "pulled_bytes_total") == {(): 1_000}


def test_what_has_not_happened_yet_is_nought():
    """A rule about an increase does not see a series that begins with 1."""
    metrics = made_metrics()
    assert set(samples(metrics, "pulls_total").values()) == {0}
    assert samples(metrics, "events_total") == {(kind, kind.severity): 0 for kind in Kind}


def test_pulls_under_way_are_added_up(metrics):
    pulls = (Pull("a", "gpu0", "pulling", 10, 100), Pull("b", "gpu0", "pulling", 5, 50))
    shown = fleet(1, pulls=pulls)
    assert samples(metrics, "pulls_running", shown) == {(): 2}
    assert samples(metrics, "pulls_size_bytes", shown) == {(): 150}
    assert samples(metrics, "pulls_done_bytes", shown) == {(): 15}


def test_restarts_are_the_starts_after_the_first(metrics):
    shown = fleet(instance(0, starts=5), instance(1, starts=0))
    assert samples(metrics, "instance_restarts_total", shown) == {("gpu0",): 4, ("gpu1",): 0}


def test_the_configuration_says_since_when_it_is_in_force(metrics):
    assert samples(metrics, "config_last_reload_successful") == {(): 1}
    when = samples(metrics, "config_last_reload_success_timestamp_seconds")
    assert when == {(): 1_795_000_000.5}


def test_the_room_under_a_store_is_shown_as_the_system_tells_it(metrics):
    assert samples(metrics, "store_free_bytes") == {("/models",): 10}
    assert samples(metrics, "store_size_bytes") == {("/models",): 100}


def test_a_gpu_that_gives_no_readings_is_down(metrics):
    silent = {"memory_used_bytes": None, "utilisation_ratio": None, "temperature_c": None}
    shown = fleet(2, gpus=(gpu(0), gpu(1, **silent)), gpu_error="the driver is gone")
    assert samples(metrics, "gpu_up", shown) == {("GPU-0",): 1, ("GPU-1",): 0}
    assert samples(metrics, "gpu_driver_up", shown) == {(): 0}
    assert samples(metrics, "gpu_driver_up", fleet(1)) == {(): 1}
    assert samples(metrics, "gpu_driver_up", fleet(1, gpus=())) == {}


def test_a_reading_that_the_driver_does_not_give_is_not_shown(metrics):
    shown = fleet(2, gpus=(gpu(0, power_w=None), gpu(1)))
    assert samples(metrics, "gpu_power_watts", shown) == {("GPU-1",): 100}
    assert samples(metrics, "gpu_utilization_ratio", shown) == {("GPU-0",): 0.25, ("GPU-1",): 0.25}


def test_what_traces_and_log_have_lost_is_counted(full):
    assert samples(full, "trace_spans_total") == {(): 5}
    assert samples(full, "trace_dropped_spans_total") == {(): 2}
    assert samples(full, "log_dropped_lines_total") == {(): 7}


def test_a_fleet_without_traces_has_no_count_of_spans():
    metrics = Metrics(
        known=bool, routes=ROUTES, sources=Sources(Configured(0.0), log_dropped=lambda: 0)
    )
    assert samples(metrics, "trace_spans_total") == {}


def test_the_history_says_what_it_kept(full):
    assert samples(full, "history_records_total") == {(): 0}
    assert samples(full, "history_dropped_records_total") == {(): 0}
    assert samples(made_metrics(), "history_records_total") == {}
