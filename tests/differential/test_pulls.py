"""Pulls by a real Ollama and by the simulated one from one registry: the same records and files."""

import json
import re
import shutil
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import rows_pulls
from fleet_process import until
from real_ollama import served
from registry_standin.running import registry

USUAL = {"redirect": "elsewhere", "auth": False, "bytes_per_s": 0}
BROKEN = {"": "EOF", '{"N":0,': "unexpected EOF"}  # how a part's record may end, what is told
PORT = re.compile(r"127\.0\.0\.1:\d+")


class Puller:
    """An Ollama with a store that is empty before every pull."""

    def __init__(self, base: str, store: Path):
        self.base, self.store = base, store

    def empty(self) -> None:
        for part in ("blobs", "manifests"):
            shutil.rmtree(self.store / part, ignore_errors=True)
            (self.store / part).mkdir(parents=True)

    @contextmanager
    def pulling(self, name: str, *, insecure: bool = True):
        """The answer to a pull."""
        body = json.dumps({"model": name, "insecure": insecure}).encode()
        request = urllib.request.Request(f"{self.base}/api/pull", body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            yield answer

    def records(self, name: str, *, insecure: bool = True) -> list[dict]:
        with self.pulling(name, insecure=insecure) as answer:
            return [json.loads(line) for line in answer]

    def files(self) -> dict[str, str | int]:
        """What lies in the store: of small files the content, of others the size."""
        found = (path for path in self.store.rglob("*") if path.is_file())
        return {PORT.sub("HOST", str(p.relative_to(self.store))): _shown(p) for p in found}


def _shown(path: Path) -> str | int:
    size = path.stat().st_size
    return path.read_text() if size < 10_000 else size


@pytest.fixture(scope="module")
def shelf():
    """A registry with one model."""
    with registry() as standin:
        yield standin


@pytest.fixture(scope="module")
def weights(shelf):
    made = shelf.make(rows_pulls.MODEL, rows_pulls.SIZE_BYTES)
    return made["manifest"]["layers"][0]["digest"]


@pytest.fixture(scope="module")
def simulated_puller(tmp_path_factory):
    home = tmp_path_factory.mktemp("sim")
    command = [sys.executable, "-m", "ollama_fleet.sim.ollama", "serve"]
    with served(command, home, home / "models", OLLAMA_SIM_TIME_SCALE="20") as base:
        yield Puller(base, home / "models")


@pytest.fixture(scope="module")
def real_puller(ollama, tmp_path_factory):
    home = tmp_path_factory.mktemp("real")
    with served([ollama, "serve"], home, home / "models") as base:
        yield Puller(base, home / "models")


@pytest.fixture(scope="module")
def both(real_puller, simulated_puller):
    return real_puller, simulated_puller


def pulled(puller, shelf, weights, row):
    """The records of a row's pull without the counts, and the bytes of weights it took."""
    fault = {k: v.format(weights=weights) if k == "path" else v for k, v in row.fault.items()}
    puller.empty()
    shelf.set(**{**USUAL, **row.settings})
    shelf.fail(*([fault] if fault else []))
    before = sent(shelf, weights)
    records = puller.records(shelf.name(row.model), insecure=row.insecure)
    return _told(records), sent(shelf, weights) - before


def sent(shelf, weights):
    return sum(c["bytes"] for path, c in shelf.counts().items() if f"/bytes/{weights}" in path)


def _told(records):
    """Each state once; ports and the counts of progress are no part of it."""
    told = []
    for record in records:
        state = {key: value for key, value in record.items() if key != "completed"}
        if "error" in state:
            state["error"] = PORT.sub("HOST", state["error"])
        if state.get("total") or "digest" not in state:
            told += [state] if state not in told[-1:] else []
    return told


def named(row):
    return row.name.replace(" ", "-")


ROWS = (*rows_pulls.ENDING, *rows_pulls.REFUSED)


@pytest.mark.parametrize("row", [*ROWS, rows_pulls.STALLED], ids=named)
def test_a_pull_by_a_simulated_ollama_ends_as_the_table_says(simulated_puller, shelf, weights, row):
    """With the model and its exact bytes, or with the error and without the model."""
    told, took = pulled(simulated_puller, shelf, weights, row)
    check_end(simulated_puller, told, took, row)


@pytest.mark.real
@pytest.mark.parametrize("row", ROWS, ids=named)
def test_a_simulated_ollama_pulls_as_a_real_one(real_puller, simulated_puller, shelf, weights, row):
    """The same records, the same error, the same files left behind; as the table says."""
    told, took = pulled(real_puller, shelf, weights, row)
    check_end(real_puller, told, took, row)
    assert lasting(pulled(simulated_puller, shelf, weights, row)[0]) == lasting(told)
    assert simulated_puller.files() == real_puller.files()


def lasting(told):
    """Without progress that ended in an error: Ollama tells of it every 60 ms, if there is time."""
    failed = "error" in told[-1]
    return [state for state in told if not (failed and "digest" in state)]


def check_end(puller, told, took, row):
    has_it = any(path.startswith("manifests/") for path in puller.files())
    if row.says:
        assert row.says in told[-1]["error"]
    else:
        assert told[-1] == {"status": "success"}
    assert has_it == (not row.says)
    if row.fetched_bytes is not None:
        assert took == row.fetched_bytes


def test_a_simulated_ollama_goes_on_where_its_client_left_it(simulated_puller, shelf, weights):
    check_resumed(simulated_puller, shelf, weights)


@pytest.mark.real
def test_a_real_ollama_goes_on_where_its_client_left_it(real_puller, shelf, weights):
    check_resumed(real_puller, shelf, weights)


def check_resumed(puller, shelf, weights):
    """What has come by then is not fetched again, but for what was on its way."""
    puller.empty()
    shelf.fail()
    shelf.set(**{**USUAL, "bytes_per_s": rows_pulls.SIZE_BYTES})
    before = sent(shelf, weights)
    name = shelf.name(rows_pulls.MODEL)
    with puller.pulling(name) as answer:
        for line in answer:
            if json.loads(line).get("completed", 0) > rows_pulls.SIZE_BYTES // 2:
                break
    until(lambda: _completed(puller), what="the record of what has come")
    shelf.set(**USUAL)
    assert puller.records(name)[-1] == {"status": "success"}
    assert sent(shelf, weights) - before < 1.4 * rows_pulls.SIZE_BYTES


def _completed(puller):
    """Bytes of weights that the store says it has."""
    parts = puller.store.glob("blobs/*-partial-0")
    return next((json.loads(part.read_text())["Completed"] for part in parts), 0)


@pytest.mark.parametrize("content", rows_pulls.STRANGE)
def test_a_strange_manifest_leads_a_simulated_ollama_nowhere(simulated_puller, shelf, content):
    check_strange(simulated_puller, shelf, content)


@pytest.mark.real
@pytest.mark.parametrize("content", rows_pulls.STRANGE)
def test_a_simulated_ollama_says_of_a_strange_manifest_what_a_real_one_says(both, shelf, content):
    told = [check_strange(puller, shelf, content) for puller in both]
    assert told[0] == told[1]


def check_strange(puller, shelf, content):
    """No file is written for one that cannot be read, in the store or elsewhere."""
    puller.empty()
    shelf.fail()
    shelf.set(**USUAL)
    shelf.put("library/strange:1", content)
    told = _told(puller.records(shelf.name("library/strange:1")))
    says = rows_pulls.STRANGE[content]
    assert says in told[-1].get("error", "")
    assert bool(puller.files()) == (not says)
    return told


def test_a_simulated_ollama_downloads_a_blob_once_for_all_who_want_it(simulated_puller, shelf):
    check_shared(simulated_puller, shelf)


@pytest.mark.real
def test_a_real_ollama_downloads_a_blob_once_for_all_who_want_it(real_puller, shelf):
    check_shared(real_puller, shelf)


def check_shared(puller, shelf):
    """Two models of one blob, pulled at once: both are there, its bytes came once."""
    puller.empty()
    shelf.fail()
    shelf.set(**{**USUAL, "bytes_per_s": rows_pulls.SIZE_BYTES})
    names = ["library/shared:1", "library/shared:2"]
    made = [shelf.make(name, rows_pulls.SIZE_BYTES, seed=7) for name in names]
    (weights,) = {model["manifest"]["layers"][0]["digest"] for model in made}
    before = sent(shelf, weights)
    with ThreadPoolExecutor() as pool:
        pulls = list(pool.map(puller.records, map(shelf.name, names)))
    assert [records[-1] for records in pulls] == 2 * [{"status": "success"}]
    assert sent(shelf, weights) - before == rows_pulls.SIZE_BYTES
    for records in pulls:
        assert any(record.get("digest") == weights for record in records)


@pytest.mark.real
@pytest.mark.parametrize("left", BROKEN)
def test_a_part_whose_record_is_broken_ends_every_pull(both, shelf, weights, left):
    """Of both: Ollama writes such a record in place, and may die with it half written."""
    shelf.fail()
    shelf.set(**USUAL)
    for puller in both:
        puller.empty()
        blob = weights.replace(":", "-")
        (puller.store / "blobs" / f"{blob}-partial-0").write_text(left)
        records = puller.records(shelf.name(rows_pulls.MODEL))
        assert _told(records) == [{"status": "pulling manifest"}, {"error": BROKEN[left]}]
