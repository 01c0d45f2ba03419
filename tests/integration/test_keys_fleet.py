"""Keys in a whole fleet that others can reach: from the first refusal to the last."""

import json
import stat
import urllib.error
import urllib.request

import pytest
from cli_fixtures import PROFILE
from fleet_process import FleetProcess, until

MODEL = "tiny:latest"
ONE_CARD = (
    PROFILE.replace("  - *card\n", "")
    .replace("name: huge, size: 40GB", "name: small, size: 1MB")
    .replace("installed: []", "installed: [tiny, small]")
)
BODY = {"model": MODEL, "prompt": "hello", "stream": False, "options": {"num_predict": 3}}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A fleet that listens on every address, with a key for root; `root` is that key."""
    made = FleetProcess(
        tmp_path_factory.mktemp("keys"), OLLAMA_SIM_TIME_SCALE="50", FLEET_AUTH__CREATE=""
    )
    (made.folder / "box.yaml").write_text(ONE_CARD)
    made.environment["FLEET_LISTEN"] = f"0.0.0.0:{made.port}"
    refused = made.run("up", "--no-tui", "--simulate", "box.yaml", check=False)
    assert refused.returncode == 78
    assert "can be reached by others, and no valid key is in" in refused.stderr
    assert "`fleet keys add NAME --role admin` makes one" in refused.stderr
    made.root = added(made, "root", "--role", "admin")
    made.run("up", "-d", "--wait", "--simulate", "box.yaml")
    yield made
    made.run("down")


def added(fleet, name, *options):
    return fleet.run("keys", "add", name, *options).stdout.strip()


def ask(fleet, path, key="", body=None, method=None):
    """Status and JSON of an answer."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(fleet.base + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def stream(fleet, key, tokens):
    """How an OpenAI stream whose client does not ask for its usage ends."""
    body = {"model": MODEL, "stream": True, "max_tokens": tokens}
    body["messages"] = [{"role": "user", "content": "hello"}]
    headers = {"Authorization": f"Bearer {key}"}
    where, data = f"{fleet.base}/v1/chat/completions", json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(where, data, headers), timeout=30) as answer:
        return answer.read().rstrip().rpartition(b"\n")[2]


def kinds(fleet):
    told = fleet.run("events", "-o", "json").stdout.splitlines()
    return [json.loads(line)["kind"] for line in told]


def test_a_key_is_good_as_soon_as_it_is_added_and_no_longer_than_it_is_there(fleet):
    assert ask(fleet, "/api/tags")[0] == 401
    assert ask(fleet, "/api/tags", fleet.root)[0] == 200
    ann = added(fleet, "ann", "--model", MODEL)
    until(lambda: ask(fleet, "/api/tags", ann)[0] == 200, what="the key of ann")
    listed = ask(fleet, f"/k/{ann}/api/tags")[1]["models"]
    assert [model["name"] for model in listed] == [MODEL]
    assert ask(fleet, "/api/generate", ann, BODY)[1]["done"] is True
    for method, path, body in (
        ("POST", "/api/pull", {"model": MODEL}),
        ("DELETE", "/api/delete", {"model": MODEL}),
        ("POST", "/api/copy", {"source": MODEL, "destination": "mine"}),
    ):
        assert ask(fleet, path, ann, body, method)[0] == 403
    status, told = ask(fleet, "/api/create", fleet.root, {"model": "x", "from": MODEL})
    assert (status, "`auth.create: true`" in told["error"]) == (403, True)
    fleet.run("keys", "rm", "ann")
    until(lambda: ask(fleet, "/api/tags", ann)[0] == 401, what="the end of ann's key")
    assert ask(fleet, "/api/tags", fleet.root)[0] == 200


def test_what_a_key_is_used_for_is_its_owners(fleet):
    bob = added(fleet, "bob", "--rate", "2/d", "--tokens", "1M/d")
    until(lambda: ask(fleet, "/api/tags", bob)[0] == 200, what="the key of bob")
    assert ask(fleet, "/api/generate", bob, BODY)[0] == 200
    assert ask(fleet, "/v1/completions", bob, {"model": MODEL, "prompt": "x"})[0] == 200
    assert ask(fleet, "/api/generate", bob, BODY)[0] == 429

    def used():
        asked = fleet.run("usage", "--by", "tenant", "--tenant", "bob", "-o", "json")
        rows = json.loads(asked.stdout)["usage"]
        return rows if rows and rows[0]["requests"] == 2 else None

    (row,) = until(used, what="bob's usage")
    assert row["output_tokens"] >= 4
    page = until(lambda: _with(fleet.run("metrics").stdout, 'caller="bob"'), what="bob's metrics")
    assert 'ollama_fleet_caller_requests_total{caller="bob"} 2' in page
    assert 'ollama_fleet_requests_denied_total{lack="requests"}' in page
    assert bob not in page


def test_a_file_that_cannot_be_used_costs_no_key(fleet):
    file = fleet.folder / "state" / "keys.json"
    whole = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("{broken")
    until(lambda: "keys_refused" in kinds(fleet), what="the event")
    assert ask(fleet, "/api/tags", fleet.root)[0] == 200
    assert fleet.run("keys", "list", check=False).returncode == 78
    file.unlink()
    until(lambda: kinds(fleet).count("keys_refused") > 1, what="another event")
    assert ask(fleet, "/api/tags", fleet.root)[0] == 200
    read = kinds(fleet).count("keys_read")
    file.write_bytes(whole)
    until(lambda: kinds(fleet).count("keys_read") > read, what="the event of the keys")


def _with(text, part):
    return text if part in text else None


def test_a_stream_that_tells_no_tokens_is_charged_for_them(fleet):
    eve = added(fleet, "eve", "--tokens", "30/d")
    until(lambda: ask(fleet, "/api/tags", eve)[0] == 200, what="the key of eve")
    assert stream(fleet, eve, tokens=40) == b"data: [DONE]"
    none = {"model": "nowhere"}  # uses nothing itself
    until(lambda: ask(fleet, "/api/generate", eve, none)[0] == 429, what="the end of eve's tokens")
