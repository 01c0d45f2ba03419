"""Keys and prompts stand nowhere: a whole fleet, told secrets by every door, has written none down.

Everything is on that writes: debug logs, every access line, history, metrics, events, traces.
"""

import base64
import http.client
import json
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from cli_fixtures import PROFILE, Cli, until
from collector import collecting

from ollama_fleet.cli.control import Control
from ollama_fleet.directories import Directories
from ollama_fleet.history import Ending

ALL = ("plain", "refused", "keyed", "odd", "cut")
MODEL = "tiny"


class Canaries:
    """Strings that occur nowhere else in the world, one for each place that they are put in."""

    def __init__(self):
        self.places = {}

    def __call__(self, place):
        return self.places.setdefault(place, f"canary{secrets.token_hex(12)}")

    def found(self, data):
        """In which places what this holds was put, however it is written."""
        return sorted(
            place
            for place, word in self.places.items()
            if word.encode() in data or base64.b64encode(word.encode())[:-4] in data
        )


@pytest.fixture
def collector():
    with collecting() as collector:
        yield collector


@pytest.fixture
def cli(tmp_path, collector):
    cli = Cli(tmp_path)
    (tmp_path / "box.yaml").write_text(
        PROFILE.replace("family: llama", "family: llama, tools: true")
    )
    cli.environ |= {
        "FLEET_LOGS__ACCESS": "all",
        "FLEET_LOGS__LEVEL": "debug",
        "FLEET_DEFAULTS__DEBUG": "1",
        "FLEET_METRICS__LISTEN": "127.0.0.1:0",
        "FLEET_TRACING__ENDPOINT": collector.base,
        "FLEET_LIMITS__IDLE_TIMEOUT": "3s",
        "OLLAMA_SIM_FAULTS": "",  # it takes others later
        "PYTHONASYNCIODEBUG": "1",
    }
    yield cli
    cli.end()


def bodies(canary):
    """A request of every dialect, with a canary wherever it has room for words."""
    words = {"role": "user", "content": canary("prompt")}
    system = {"role": "system", "content": canary("system")}
    function = {
        "name": canary("tool"),
        "description": canary("tool text"),
        "parameters": {"type": "object", "properties": {canary("argument"): {"type": "string"}}},
    }
    tools = [{"type": "function", "function": function}]
    common = {"model": MODEL, "stream": True}
    short = {"options": {"num_predict": 4, "stop": [canary("stop")]}}
    called = {"role": "assistant", "tool_calls": [{"function": {**function, "arguments": {}}}]}
    return {
        "/api/generate": {
            **common,
            **short,
            "prompt": canary("prompt"),
            "system": canary("system"),
            "template": canary("template"),
            "format": {"type": "object", "title": canary("schema")},
        },
        "/api/chat": {
            **common,
            **short,
            "messages": [system, words, called],
            "tools": tools,
        },
        "/api/embed": {"model": MODEL, "input": [canary("prompt"), canary("input")]},
        "/api/embeddings": {"model": MODEL, "prompt": canary("prompt")},
        "/v1/chat/completions": {
            **common,
            "messages": [system, words],
            "tools": tools,
            "max_tokens": 4,
            "user": canary("user"),
        },
        "/v1/completions": {**common, "prompt": canary("prompt"), "max_tokens": 4},
        "/v1/embeddings": {"model": MODEL, "input": canary("input")},
        "/v1/responses": {
            **common,
            "input": [words],
            "instructions": canary("system"),
            "max_output_tokens": 4,
        },
        "/v1/messages": {
            **common,
            "system": canary("system"),
            "messages": [words],
            "max_tokens": 4,
            "tools": [{**function, "input_schema": {"type": "object"}}],
        },
    }


def beyond(canary):
    """What the model cannot do: fill a gap, and see, asked in each dialect's way."""
    image = base64.b64encode(canary("image").encode() * 3).decode()
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    source = {"type": "base64", "media_type": "image/png", "data": image}
    told = {"role": "user", "content": canary("prompt")}
    part = {"type": "input_image", "image_url": url["image_url"]["url"]}
    return {
        "/api/generate": {"model": MODEL, "suffix": canary("suffix"), "images": [image]},
        "/api/chat": {"model": MODEL, "messages": [{**told, "images": [image]}]},
        "/v1/chat/completions": {"model": MODEL, "messages": [{**told, "content": [url]}]},
        "/v1/responses": {"model": MODEL, "input": [{**told, "content": [part]}]},
        "/v1/messages": {
            "model": MODEL,
            "max_tokens": 4,
            "messages": [{**told, "content": [{"type": "image", "source": source}]}],
        },
    }


def headers(canary, request_id):
    """What a client's libraries and proxies add, the keys among it."""
    return {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {canary('bearer')}",
        "X-Api-Key": canary("api key"),
        "Cookie": f"session={canary('cookie')}",
        "Proxy-Authorization": f"Basic {canary('proxy key')}",
        "X-Forwarded-User": canary("forwarded"),
        "Traceparent": f"00-{canary('trace')}-01",
        "Baggage": f"user={canary('baggage')}",
        "X-Request-Id": request_id,
    }


class Client:
    """Sends requests with keys; keeps what it is told."""

    def __init__(self, cli, canary):
        self.canary = canary
        self.port = cli.port
        self.told = []

    def ask(self, path, body, *, method="POST", request_id="seen-plain", cut=False, **changed):
        """The status of an answer; with `cut` the client leaves after its first bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            all_headers = headers(self.canary, request_id) | changed
            connection.request(method, path, data, all_headers)
            answer = connection.getresponse()
            raw = answer.read(1) if cut else answer.read()
        except (http.client.HTTPException, OSError):
            return 0  # cut, as it was to be
        finally:
            connection.close()
        self.told.append(str(answer.headers).encode() + raw)
        return answer.status

    def send(self, raw):
        """Bytes that are no request."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                self.told.append(piece)


def keyed(cli, client, canary):
    """Requests with a key of the fleet's own, at each place that one can have, and with others."""
    key = cli.run("keys", "add", "ann").out.strip()
    canary.places |= {"fleet key": key, "unknown key": f"fleet_{secrets.token_hex(20)}"}
    bearer = f"Bearer {key}"
    path, body = next(iter(bodies(canary).items()))
    until(lambda: client.ask(path, body, Authorization=bearer) == 200, "the fleet has read the key")
    for place in ("fleet key", "unknown key"):
        word = canary(place)
        for path, body in bodies(canary).items():
            client.ask(path, body, Authorization=f"Bearer {word}", request_id="seen-keyed")
            client.ask(path, body, **{"X-Api-Key": word, "Authorization": "Bearer ollama"})
            client.ask(f"/k/{word}{path}", body, request_id="seen-keyed")
        client.ask("/api/chat", bodies(canary)["/api/chat"], Referer=f"http://box/k/{word}/x")
        client.ask(f"/k/{word}/nowhere?k={word}", {}, method="PROPFIND")
        client.ask("/api/pull", {"model": 7}, Authorization=word)


def refused(client, canary):
    """Requests that the fleet or an instance turns away."""
    body = json.dumps({"model": MODEL, "prompt": canary("broken JSON")}).encode()
    for path, asked in beyond(canary).items():
        client.ask(path, asked, request_id="seen-refused")
    for path in bodies(canary):
        client.ask(path, body[:-9], request_id="seen-refused")
        client.ask(path, body.replace(b'{"model', b'["model'), request_id="seen-refused")
        client.ask(path, {"model": 7, "prompt": canary("wrong type"), "messages": canary("prompt")})
        client.ask(path, {"model": "nope", "prompt": canary("prompt"), "input": canary("input")})
    plain = {"model": MODEL, "prompt": canary("prompt")}
    for name in ("X-Fleet-Priority", "X-Fleet-Deadline", "Origin", "Host"):
        assert client.ask("/api/generate", plain, **{name: canary(name)}) >= 400
    for encoding in ("gzip", "zstd", canary("encoding")):
        client.ask("/api/generate", body, **{"Content-Encoding": encoding})
    client.ask("/api/generate", plain, **{"X-Request-Id": f"{canary('insane id')} \xff"})
    client.ask("/v1/audio/transcriptions", *form(canary))
    for method, path in (
        ("POST", f"/k/{canary('key in path')}/api/chat"),
        ("GET", f"/v1/models/{quote(canary('prompt'))}?api_key={canary('query')}"),
        ("POST", f"/api/generate?key={canary('query')}"),
        ("POST", f"//api/../api/chat?key={canary('query')}"),
        ("PROPFIND", f"/api/tags?key={canary('query')}"),
    ):
        if "models" not in path:
            client.ask(path, plain, method=method)


def form(canary):
    """An upload with words in it; its boundary told as the last argument."""
    part = 'Content-Disposition: form-data; name="{}"'
    lines = ("--cut", part.format("prompt"), "", canary("prompt"), "--cut")
    last = (part.format("file") + f'; filename="{canary("file name")}"', "", canary("audio"))
    return ("\r\n".join((*lines, *last, "--cut--", "")).encode(),)


def odd(client, canary):
    """What no library sends."""
    key = canary("raw key")
    for raw in (
        f"GET /{key} HTTP/9.9\r\n\r\n",
        f"{key} / HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization {key}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: a\x00{key}\r\n\r\n",
        f"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {key}\r\n\r\n",
        f"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999\r\n\r\n{{{key}",
        f"POST /api/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz{key}\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nX: {key * 5000}\r\n\r\n",
    ):
        client.send(raw.encode())
    large = {"model": MODEL, "prompt": canary("large") * 100_000, "stream": False}
    client.ask("/api/generate", large, request_id="seen-odd")  # through a spool file


def fault(hosts, text):
    """Have every instance go wrong so."""
    for host in hosts:
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request("POST", "/sim/faults", text)
        assert connection.getresponse().status < 300
        connection.close()


def cut(hosts, client, canary):
    """Answers that break off, on either side, and attempts elsewhere."""
    for text in (
        "runner_death:after_tokens=2;times=1",
        "busy:times=1",
        "load_failure:times=1",
        "repetition:after_tokens=2;times=1",
        "hang:after_tokens=2;times=1",
    ):
        for path in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
            fault(hosts, text)
            client.ask(path, bodies(canary)[path], request_id="seen-cut")
    fault(hosts, "slow:factor=300")  # long enough that its client leaves before its end
    endless = bodies(canary)["/api/chat"] | {"options": {"num_predict": 1_000}}
    client.ask("/api/chat", endless, request_id="seen-cut", cut=True)
    fault(hosts, "crash:after_tokens=2;times=1")
    client.ask("/api/chat", bodies(canary)["/api/chat"], request_id="seen-cut")


READS = ("/v1/status", "/v1/live", "/v1/decisions", "/v1/events", "/v1/queue", "/v1/usage")
PAST = ("/v1/requests?limit=500", "/v1/requests/seen-cut", "/v1/explain/seen-cut")


def read_all(cli, *more):
    """What the fleet tells those who watch it, at this moment."""
    control = Control(Directories.find(cli.environ))
    told = [control.read(path) for path in (*READS, *more)]
    commands = ("metrics", "status", "usage") if more else ("metrics",)
    shown = (cli.run(command).out.encode() for command in commands)
    return b"\n".join((*told, *shown))


def test_keys_and_prompts_stand_in_nothing_that_a_fleet_writes(cli, collector):
    """Logs, history, events, state, metrics, snapshots, traces, the store: not a byte of them."""
    assert cli.run(*cli.up, "-v", "--wait").code == 0
    assert cli.run("pull", MODEL).code == 0
    canary = Canaries()
    client = Client(cli, canary)
    hosts = [instance["url"].partition("//")[2] for instance in cli.status()["instances"]]
    seen = [read_all(cli)]
    for path, body in bodies(canary).items():
        assert client.ask(path, body) == 200, path
    with ThreadPoolExecutor(8) as pool:  # more than there are slots: some wait while it is read
        fault(hosts, "slow:factor=10")
        waiting = [
            pool.submit(client.ask, path, body)
            for path, body in bodies(canary).items()
            for _ in range(3)
        ]
        seen.append(until(lambda: _with_requests(cli), "requests on their way"))
        assert any(asked.result() == 200 for asked in waiting)  # a busy machine may cut some off
    fault(hosts, "")
    refused(client, canary)
    keyed(cli, client, canary)
    odd(client, canary)
    cut(hosts, client, canary)
    log = cli.state / "logs" / "fleet.log"
    for name in ALL:
        until(lambda name=name: f"seen-{name}".encode() in log.read_bytes(), f"seen-{name}")
    seen.append(until(lambda: _with_all(cli), "all of them told"))  # records are written later
    assert cli.run("down").code == 0
    written = {path: path.read_bytes() for path in cli.folder.rglob("*") if path.is_file()}
    for file in ("logs/fleet.log", "history.db"):  # or there would be nothing to be found
        assert b"seen-cut" in written[cli.state / file]
    assert {"events.jsonl", "learned.json", "gpu-0.log"} <= {path.name for path in written}
    lines = [json.loads(line) for line in written[log].splitlines()]
    assert {line.get("ending") for line in lines} >= set(Ending), "each end there is was met"
    assert any(line.get("attempts", 0) > 1 for line in lines), "and a second attempt"
    leaks = {path.name: places for path, data in written.items() if (places := canary.found(data))}
    assert leaks == {}
    assert canary.found(b"\n".join(seen)) == []
    assert collector.spans, "traces were sent"
    assert canary.found(collector.raw) == []
    assert b'"ann"' in seen[-1], "the key was taken, and its requests are its owner's"
    keys = {"bearer", "api key", "cookie", "proxy key", "forwarded", "fleet key", "unknown key"}
    assert keys.isdisjoint(canary.found(b"\n".join(client.told)))


def _with_all(cli):
    told = read_all(cli, *PAST)
    return told if all(f"seen-{name}".encode() in told for name in ALL) else None


def _with_requests(cli):
    live = read_all(cli)
    return live if b"seen-plain" in live else None
