"""What is seen of requests to a real Ollama: why one took so long, and not a word of any."""

import json
import secrets
import urllib.error
import urllib.request

import pytest
from fleet_process import FleetProcess, until

from ollama_fleet.cli.control import Control
from ollama_fleet.directories import Directories

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

READS = ("/v1/status", "/v1/live", "/v1/decisions", "/v1/events", "/v1/usage", "/v1/requests")


@pytest.fixture
def fleet(box, tmp_path):
    """One instance; all is written down that can be."""
    config = (
        f"ollama: {{ binary: {box.ollama}, models: {box.store} }}\n"
        "groups: [{ name: a, gpus: [], num_parallel: 1 }]\n"
        "logs: { access: all, level: debug }\n"
    )
    one = FleetProcess(tmp_path, config=config, HOME=str(box.home))
    one.run("up", "-d", "--wait")
    yield one
    one.run("down", "--now", check=False)


def ask(fleet, path, body, request_id, **headers):
    """Status and content of an answer."""
    told = {"Content-Type": "application/json", "X-Request-Id": request_id, **headers}
    request = urllib.request.Request(fleet.base + path, json.dumps(body).encode(), told)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def recorded(fleet, request_id):
    """The record of a request, once it is kept."""

    def found():
        told = json.loads(fleet.run("history", "-o", "json").stdout)["requests"]
        return [one for one in told if one["id"] == request_id]

    return until(found, what=f"the record {request_id}")[0]


def test_a_request_that_waited_for_a_cold_load_is_told_so(fleet):
    """And the next one, for which it was in memory, is not."""
    body = {"model": "tiny", "prompt": "hi", "options": {"num_predict": 1}, "stream": False}
    for request_id in ("cold", "warm"):
        status, _ = ask(fleet, "/api/generate", body, request_id)
        assert status == 200
    cold, warm = (recorded(fleet, request_id) for request_id in ("cold", "warm"))
    assert cold["load_s"] > 0.1
    assert warm["load_s"] == 0
    told = json.loads(fleet.run("explain", "cold", "-o", "json").stdout)
    assert told["cause"] == "load", told["verdict"]
    assert told["verdict"].startswith("cold load of tiny on a: ")
    assert json.loads(fleet.run("explain", "warm", "-o", "json").stdout)["cause"] != "load"


def secret_bodies(word):
    """A request of every kind that runs a model, with a secret word wherever there is room."""
    said = [{"role": "system", "content": word}, {"role": "user", "content": word}]
    few = {"stop": [word], "num_predict": 4}
    chat = {"model": "tiny", "messages": said, "options": few}
    return {
        "/api/generate": {"model": "tiny", "prompt": word, "system": word, "options": few},
        "/api/chat": {**chat, "format": {"type": "object", "title": word}},
        "/api/embed": {"model": "tiny-embed", "input": [word, word]},
        "/api/embeddings": {"model": "tiny-embed", "prompt": word},
        "/v1/chat/completions": {"model": "tiny", "messages": said, "max_tokens": 4, "user": word},
        "/v1/embeddings": {"model": "tiny-embed", "input": word},
    }


def test_keys_and_prompts_stand_in_nothing_that_a_fleet_of_real_ollamas_writes(fleet):
    """Logs, its instances' too, history, events, state, metrics, snapshots: nowhere."""
    prompt, key = (f"canary{secrets.token_hex(12)}" for _ in range(2))
    bodies = secret_bodies(prompt)
    for path, body in bodies.items():
        status, said = ask(fleet, path, body, "seen", Authorization=f"Bearer {key}")
        assert status == 200, (path, said)
        assert ask(fleet, path, {**body, "model": "nope"}, "seen", Cookie=key)[0] == 404
    recorded(fleet, "seen")
    control = Control(Directories.find(fleet.environment))
    told = [control.read(path) for path in READS] + [fleet.run("metrics").stdout.encode()]
    assert b"seen" in told[-2]
    fleet.run("down")
    state = fleet.folder / "state"
    written = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    assert {"fleet.log", "a.log", "history.db", "events.jsonl"} <= {path.name for path in written}
    assert written[state / "logs" / "fleet.log"].count(b'"seen"') == 2 * len(bodies)
    for word in (prompt, key):
        assert [path.name for path, data in written.items() if word.encode() in data] == []
        assert not any(word.encode() in each for each in told)
