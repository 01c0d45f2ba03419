"""What a fleet does where traces are wanted and OpenTelemetry is not installed."""

import sys

import pytest

from ollama_fleet.config import TracingConfig
from ollama_fleet.errors import FleetError
from ollama_fleet.fleet.tracing import Tracing, make_tracing

HERE = "http://127.0.0.1:4318"


@pytest.fixture
def without_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "ollama_fleet.tracing.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)


@pytest.mark.usefixtures("without_the_extra")
def test_a_fleet_told_to_send_traces_says_what_it_lacks():
    with pytest.raises(FleetError) as caught:
        make_tracing(TracingConfig(endpoint=HERE), {})
    assert caught.value.hint == "pip install 'ollama-fleet[otel]'"


@pytest.mark.usefixtures("without_the_extra")
def test_variables_that_may_be_meant_for_others_stop_no_fleet(caplog):
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": HERE}
    assert make_tracing(TracingConfig(), environ) == Tracing()
    assert "ollama-fleet[otel]" in caplog.text


def test_what_the_exporter_cannot_use_is_said_before_anything_runs(monkeypatch):
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nobody")
    with pytest.raises(FleetError, match="traces cannot be sent"):
        make_tracing(TracingConfig(endpoint=HERE), {})


def test_a_fleet_that_sends_traces_makes_them_and_lets_the_loop_have_its_turn(monkeypatch):
    turns = []
    monkeypatch.setattr(sys, "setswitchinterval", turns.append)
    tracing = make_tracing(TracingConfig(endpoint=HERE), {})
    tracing.spans.close()
    assert tracing.traces.begin((), 0.0).sampled
    assert turns == [0.0005]
