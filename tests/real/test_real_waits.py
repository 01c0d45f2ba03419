"""What a real Ollama counts as load and as nothing: what the fleet's learning takes for granted."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from real_ollama import served

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]  # real weights, on a CPU that others use

FIGURES = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


@pytest.fixture(scope="module")
def alone(box):
    """A server that runs one request at a time and holds one model; its base URL."""
    only = {"OLLAMA_NUM_PARALLEL": "1", "OLLAMA_MAX_LOADED_MODELS": "1"}
    with served([box.ollama, "serve"], box.home, box.store, **only) as base:
        yield base


@pytest.fixture
def pool():
    with ThreadPoolExecutor() as pool:
        yield pool


def generate(base, model, tokens, *, begun=lambda: None):
    """The seconds that a request's last record tells; `begun` is called at its first token."""
    body = {"model": model, "prompt": "hi", "options": {"num_predict": tokens}}
    with urllib.request.urlopen(f"{base}/api/generate", json.dumps(body).encode()) as answer:
        answer.readline()
        begun()
        told = json.loads(answer.read().splitlines()[-1])
    return {name.removesuffix("_duration"): told.get(name, 0) / 1e9 for name in FIGURES}


def test_a_load_behind_a_busy_model_says_that_it_took_as_long_as_the_wait(alone, pool):
    behind = []
    busy_s = generate(
        alone,
        "slow",
        200,
        begun=lambda: behind.append(pool.submit(generate, alone, "tiny", 8)),
    )
    behind_s = behind[0].result()
    assert behind_s["load"] > busy_s["eval"] / 2
    generate(alone, "slow", 2)
    assert generate(alone, "tiny", 8)["load"] < behind_s["load"] / 2, "with nobody before it"


def test_the_wait_for_a_slot_is_in_the_total_and_in_no_other_figure(alone, pool):
    second = []
    first_s = generate(
        alone,
        "slow",
        150,
        begun=lambda: second.append(pool.submit(generate, alone, "slow", 150)),
    )
    second_s = second[0].result()
    parts_s = sum(second_s[name] for name in ("load", "prompt_eval", "eval"))
    assert second_s["total"] - parts_s > first_s["eval"] / 2
