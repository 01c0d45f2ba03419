"""Models that fail, straight and through the router: the same failure, told in the same words."""

import json
import os

import parrot
import pytest
import rows_failures
from compare import differences
from judging import check
from pairs import profile, real_pair, simulated_pair
from real_ollama import create, served


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """A simulated pair whose models fail, each in its own way."""
    box = profile(*rows_failures.FAILING, median_tokens=90)
    faults = " | ".join(rows_failures.FAILING.values())
    with simulated_pair(tmp_path_factory.mktemp("failing"), box, faults=faults) as pair:
        yield pair


@pytest.fixture(scope="module")
def really_failing(ollama, tmp_path_factory):
    """A real pair: of one model half the file is gone, the other can say one word only."""
    home = tmp_path_factory.mktemp("failing")
    store = home / "models"
    with served([ollama, "serve"], home, store) as base:
        for name, chains in (
            (rows_failures.BROKEN, parrot.CALLER),
            (rows_failures.STUTTER, parrot.STUTTER),
        ):
            model = parrot.gguf(home / f"{name}.gguf", chains)
            create(base, name, model, {"temperature": 0}, template=parrot.STUTTER_TEMPLATE)
    _halve(store, rows_failures.BROKEN)
    with real_pair(tmp_path_factory.mktemp("fleet"), ollama, home, store) as pair:
        yield pair


def _halve(store, name):
    manifest = store / "manifests" / "registry.ollama.ai" / "library" / name / "latest"
    layers = json.loads(manifest.read_bytes())["layers"]
    weights = next(x["digest"] for x in layers if x["mediaType"].endswith(".model"))
    blob = store / "blobs" / weights.replace(":", "-")
    os.truncate(blob, blob.stat().st_size // 2)


def named(row):
    return row.name.replace(" ", "-")


@pytest.mark.parametrize("row", rows_failures.SIMULATED, ids=named)
def test_a_failure_of_a_simulated_ollama_is_told_as_it_tells_it(failing, row):
    check(failing, row)


@pytest.mark.real
@pytest.mark.parametrize("row", rows_failures.REAL, ids=named)
def test_a_failure_of_a_real_ollama_is_told_as_it_tells_it(really_failing, row):
    check(really_failing, row)


@pytest.mark.real
@pytest.mark.parametrize("row", rows_failures.REPEATS, ids=named)
def test_a_simulated_ollama_is_stopped_by_repetition_as_a_real_one(failing, really_failing, row):
    """Without an end, an error or counts; in one piece with what there is."""
    true, made_up = really_failing.ask_straight(row), failing.ask_straight(row)
    assert differences(true, made_up, row.methods, deterministic=False) == ()
