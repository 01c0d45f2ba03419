"""What the traces of requests to a real Ollama say, held against what it says itself."""

import pytest
from collector import attributes, collecting
from fleet_process import FleetProcess, call, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


@pytest.fixture
def collector():
    with collecting() as one:
        yield one


@pytest.fixture
def fleet(box, tmp_path, collector):
    config = (
        f"ollama: {{ binary: {box.ollama}, models: {box.store} }}\n"
        "groups: [{ name: a, gpus: [] }]\n"
        f"tracing: {{ endpoint: '{collector.base}' }}\n"
    )
    one = FleetProcess(tmp_path, config=config, HOME=str(box.home))
    one.run("up", "-d", "--wait")
    yield one
    one.run("down", "--now", check=False)


def test_the_attempts_figures_are_those_of_ollamas_last_record(fleet, collector):
    body = {"model": "tiny", "prompt": "hello", "stream": False}
    said = call(f"{fleet.base}/api/generate", body, timeout=120)
    (span,) = until(lambda: collector.named("text_completion tiny"), what="the span")
    told = attributes(span)
    assert told["gen_ai.response.model"] == said["model"] + ":latest"
    assert told["gen_ai.usage.input_tokens"] == said["prompt_eval_count"]
    assert told["gen_ai.usage.output_tokens"] == said["eval_count"]
    # What took no time that Ollama's clock could tell is not there.
    assert told.get("ollama_fleet.prefill_seconds", 0.0) == said["prompt_eval_duration"] / 1e9
    assert told.get("ollama_fleet.decode_seconds", 0.0) == said.get("eval_duration", 0) / 1e9
    assert said["total_duration"] <= span.end_time_unix_nano - span.start_time_unix_nano
    assert collector.resource["service.name"] == "ollama-fleet"
