"""What fleet.yaml and OTEL_* variables make of traces."""

import pytest

from ollama_fleet.config import TracingConfig
from ollama_fleet.tracing import Sampling
from ollama_fleet.tracing.choices import choices

HERE = "http://127.0.0.1:4318"
TO = {"OTEL_EXPORTER_OTLP_ENDPOINT": HERE}


def chosen(environ=None, **keys):
    return choices(TracingConfig(**keys), environ or {})


def test_without_a_collector_there_are_no_traces():
    assert chosen() is None
    assert chosen({"OTEL_SERVICE_NAME": "box"}, sample=0.5) is None


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        (HERE, f"{HERE}/v1/traces"),
        (f"{HERE}/", f"{HERE}/v1/traces"),
        (f"{HERE}/v1/traces", f"{HERE}/v1/traces"),
        ("https://tempo.example/otlp/", "https://tempo.example/otlp/v1/traces"),
    ],
)
def test_the_address_of_a_collector_is_completed(endpoint, address):
    found = chosen(endpoint=endpoint)
    assert found.endpoint == address
    assert found.asked


@pytest.mark.parametrize(
    "endpoint",
    ["", "127.0.0.1:4318", "ftp://x", "http://", "http://u:p@x", "http://x?y", "http://x/a b"],
)
def test_what_is_no_address_is_refused(endpoint):
    with pytest.raises(ValueError, match="endpoint"):
        TracingConfig(endpoint=endpoint)


@pytest.mark.parametrize("sample", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_0_and_1(sample):
    with pytest.raises(ValueError, match="sample"):
        TracingConfig(sample=sample)


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        (TO, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{HERE}/v1/traces"}, True),
        ({**TO, "OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({**TO, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**TO, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({**TO, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
        (
            {
                **TO,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            True,
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
    ],
)
def test_the_environment_may_ask_for_traces(environ, wanted):
    found = chosen(environ)
    assert (found is not None) == wanted
    assert found is None or (found.endpoint, found.asked) == ("", False)


def test_all_of_it_is_off_where_opentelemetry_is():
    assert chosen({"OTEL_SDK_DISABLED": "true"}, endpoint=HERE) is None


def test_the_file_goes_before_the_environment():
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_SERVICE_NAME": "theirs",
    }
    found = chosen(environ, endpoint=HERE, sample=0.25, service_name="box")
    assert (found.endpoint, found.service) == (f"{HERE}/v1/traces", "box")
    assert found.sampling == Sampling(0.25, as_parent=True)


@pytest.mark.parametrize(
    ("environ", "service"),
    [
        ({}, "ollama-fleet"),
        ({"OTEL_SERVICE_NAME": "box"}, ""),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b, service.name=box"}, ""),
        ({"OTEL_RESOURCE_ATTRIBUTES": "my.service.name=box"}, "ollama-fleet"),
    ],
)
def test_the_fleet_has_its_name_unless_the_environment_gives_one(environ, service):
    assert chosen(environ, endpoint=HERE).service == service


@pytest.mark.parametrize(
    ("sampler", "argument", "sampling"),
    [
        ("", "", Sampling(1.0, as_parent=True)),
        ("always_on", "", Sampling(1.0, as_parent=False)),
        ("always_off", "", Sampling(0.0, as_parent=False)),
        ("parentbased_always_off", "", Sampling(0.0, as_parent=True)),
        ("traceidratio", "0.2", Sampling(0.2, as_parent=False)),
        ("parentbased_traceidratio", "0.2", Sampling(0.2, as_parent=True)),
        ("parentbased_traceidratio", "much", Sampling(1.0, as_parent=True)),
        ("parentbased_traceidratio", "7", Sampling(1.0, as_parent=True)),
        ("jaeger_remote", "x", Sampling(1.0, as_parent=True)),
    ],
)
def test_the_environments_sampler_counts_where_the_file_says_nothing(sampler, argument, sampling):
    environ = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    assert chosen(environ, endpoint=HERE).sampling == sampling


def test_bounds_come_from_the_environment_and_nonsense_is_passed_over():
    environ = {
        "OTEL_BSP_MAX_QUEUE_SIZE": "10",
        "OTEL_BSP_SCHEDULE_DELAY": "250",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "many",
    }
    found = chosen(environ, endpoint=HERE)
    assert (found.waiting, found.batch, found.pause_s) == (32, 32, 0.25)
