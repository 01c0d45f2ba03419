"""A whole fleet that may have few files open, and its clients, who take all that they are given."""

import json
import resource
import select
import socket
import subprocess
import sys
import urllib.error
from contextlib import ExitStack, contextmanager

import pytest
from fleet_process import FleetProcess, call, until
from prometheus_client.parser import text_string_to_metric_families

from ollama_fleet.config.limits import connections_within

FILES = 256
FLOOD = 200
AT_ONCE = 3
LIMITS = f"limits: {{ header_timeout: 60s, requests_per_client: {AT_ONCE} }}\n"
MODEL = "llama3.1:8b"
RUNNING = "ollama_fleet_running_requests"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = FleetProcess(tmp_path_factory.mktemp("flooded"), config=LIMITS)
    done = subprocess.run(
        [sys.executable, "-m", "ollama_fleet", "up", "-d", "--wait", "--simulate", "2x24GB"],
        env=fleet.environment,
        cwd=fleet.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
    )
    assert done.returncode == 0, done.stderr
    yield fleet
    fleet.run("down", "--now", check=False)


def figures(fleet):
    """The fleet's figures that have no label, by name; and, by limit, how often it was run into."""
    families = text_string_to_metric_families(fleet.run("metrics").stdout)
    samples = [sample for family in families for sample in family.samples]
    plain = {sample.name: sample.value for sample in samples if not sample.labels}
    limits = {s.labels["limit"]: s.value for s in samples if "limit" in s.labels}
    return plain | limits


def is_served(fleet):
    try:
        return call(f"{fleet.base}/api/version", timeout=5)
    except OSError:
        return None


def connect(fleet):
    client = socket.create_connection(("127.0.0.1", fleet.port), timeout=10)
    client.sendall(b"GET /api/version HTTP/1.1\r\n")
    return client


def told(client):
    """What one that was turned away was told; nothing if it was cut off."""
    try:
        head, _, body = client.recv(65_536).partition(b"\r\n\r\n")
    except ConnectionError:
        return None
    return (head.split()[1], json.loads(body)) if head else None


def test_a_flood_of_connections_is_turned_away_and_leaves_nothing_behind(fleet):
    within = connections_within(FILES, 2, secured=False)
    with ExitStack() as stack:
        flood = [stack.enter_context(connect(fleet)) for _ in range(FLOOD)]
        ended = until(lambda: len(found := ready(flood)) >= FLOOD - within and found)
        assert len(ended) == FLOOD - within, "as many stay as there are files for"
        answers = [told(client) for client in ended]
        statuses, texts = zip(*filter(None, answers), strict=True)
        assert set(statuses) == {b"503"}
        assert "too many connections" in texts[0]["error"]
        assert figures(fleet)["limits.connections"] >= FLOOD - within
        assert all(i["phase"] == "ready" for i in fleet.instances().values())
    until(lambda: is_served(fleet), what="a client after the flood")
    body = {"model": MODEL, "prompt": "hello", "stream": False, "options": {"num_predict": 2}}
    assert call(f"{fleet.base}/api/generate", body)["done"]


def ready(clients):
    """Those that something has come for."""
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLIN)
    found = {number for number, _ in poll.poll(0)}
    return [client for client in clients if client.fileno() in found]


@contextmanager
def streaming(fleet):
    """An answer that goes on until the client leaves."""
    asked = {"model": MODEL, "prompt": "hello", "options": {"num_predict": 100_000}}
    body = json.dumps(asked).encode()
    head = f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", fleet.port), timeout=30) as client:
        client.sendall(head.encode() + body)
        assert b" 200 " in client.recv(100)
        yield


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/api/chat", {"model": MODEL, "messages": []}, lambda e: e["error"]),
        (
            "/v1/chat/completions",
            {"model": MODEL, "messages": []},
            lambda e: e["error"]["message"],
        ),
        (
            "/v1/messages",
            {"model": MODEL, "messages": [], "max_tokens": 1},
            lambda e: e["error"]["message"],
        ),
    ],
    ids=["ollama", "openai", "anthropic"],
)
def test_a_client_with_as_many_requests_as_it_may_have_is_told_so_in_its_own_words(
    fleet, path, body, text
):
    at_rest = until(lambda: (now := figures(fleet))[RUNNING] == 0 and now)
    before = at_rest["limits.requests_per_client"]
    with ExitStack() as stack:
        for _ in range(AT_ONCE):
            stack.enter_context(streaming(fleet))
        with pytest.raises(urllib.error.HTTPError) as refused:
            call(f"{fleet.base}{path}", body)
        answer = refused.value
        assert (answer.code, answer.headers["Retry-After"]) == (429, "1")
        assert text(json.loads(answer.read())).startswith("too many requests: ")
        assert figures(fleet)["limits.requests_per_client"] == before + 1
    until(lambda: is_served(fleet), what="a request of a client whose others are over")
