"""What strangers send to a whole fleet: nothing leads out of it, nothing they name grows in it.

A trap listens where they point to: whoever connects there was led by a request.
"""

import http.client
import json
import re
from pathlib import Path

import pytest
from cli_fixtures import PROFILE, Cli, until
from trap import Trap

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "canary-aws",
    "AWS_SESSION_TOKEN": "canary-session",
    "OPENAI_API_KEY": "canary-openai",
    "HF_TOKEN": "canary-hf",
    "FLEET_QUEUE__LIMIT": "77",
    "OLLAMA_DEBUG": "1",
    "LLAMA_ARG_API_KEY": "canary-llama",
    "LD_PRELOAD": "",
}


@pytest.fixture(scope="module")
def trap():
    with Trap() as trap:
        yield trap


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    cli = Cli(tmp_path_factory.mktemp("fleet"))
    profile = PROFILE.replace("installed: []", "installed: [tiny]")
    (cli.folder / "box.yaml").write_text(profile)
    cli.environ |= {**SECRETS, "FLEET_LOGS__ACCESS": "all"}
    done = cli.run(*cli.up, "-d", "--wait")
    assert done.code == 0, done.err
    yield cli
    cli.end()


def ask(fleet, method, path, body=b"", headers=None):
    """Status and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", fleet.port, timeout=60)
    try:
        data = body if isinstance(body, bytes | str) else json.dumps(body)
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def pointing(port):
    """Names that lead an Ollama to another server, in each way that it reads one."""
    there = f"127.0.0.1:{port}"
    for scheme in ("", "http://", "HTTP://", "https://", "ftp://", "http+insecure://", "://"):
        yield f"{scheme}{there}/x/y"
    for host in (f"localhost:{port}", f"LOCALHOST:{port}"):
        yield f"http://{host}/x/y"
    yield from (f" {there}/x/y\n", f"\u2028{there}/x/y", f"{there}/x/y:cloud", f"{there}/y")
    yield from (f"http://[::1]:{port}/x/y", "http://169.254.169.254/latest/meta-data")


def bodies(name):
    """A body with that name, in the ways in which a reader could fail to see it."""
    quoted = json.dumps(name)
    yield f'{{"model":{quoted},"insecure":true}}'
    yield f'{{"name":{quoted},"insecure":true,"stream":false}}'
    yield f'{{"model":"tiny","MODEL":{quoted},"insecure":true}}'
    yield f'{{"model":{quoted},"insecure":true}} and more'
    yield f'{{"x":{"[" * 3000}{"]" * 3000},"model":{quoted},"insecure":true}}'
    yield f'{{"x":{"1" * 5000},"model":{quoted},"insecure":true}}'
    yield f'{{"model":{quoted},"insecure":true,"x":"{"a" * (2**20 + 9)}"}}'


def test_no_name_of_a_model_leads_out_of_the_fleet(fleet, trap):
    """Pulled, pushed, made of, or hidden from a reader: no instance connects where it points."""
    for name in pointing(trap.port):
        for route in ("pull", "push"):
            status, said = ask(fleet, "POST", f"/api/{route}", {"model": name, "insecure": True})
            assert status in {400, 403, 404}, (route, name, said)
        made = {"model": "made", "from": name, "stream": False}
        assert ask(fleet, "POST", "/api/create", made)[0] >= 400, name
    for body in bodies(f"http://127.0.0.1:{trap.port}/x/y"):
        for route in ("pull", "push"):
            status, said = ask(fleet, "POST", f"/api/{route}", body)
            assert status in {400, 403, 404, 413}, (route, body[:99], said)
            assert b"success" not in said
    assert trap.connections == 0


def test_what_a_name_may_not_be_is_refused_and_touches_no_file(fleet):
    for name in (
        "../../etc/passwd", "a/../../b", "..", "/etc/passwd", "a\0b", "x" * 65536,
        "\u202eevil", "\U0001f999", "cafe\u0301", "a\nb", "a\x1b[2Jb", "%2e%2e/x", "tiny/../tiny",
    ):  # fmt: skip
        for path, key in (("generate", "model"), ("show", "model"), ("chat", "name")):
            status, said = ask(fleet, "POST", f"/api/{path}", {key: name, "stream": False})
            assert status in {400, 404}, (name[:40], said)
            assert b"passwd:" not in said
            assert b"root:" not in said
    for model in (7, ["tiny"], {"a": 1}, True, None):
        status, said = ask(fleet, "POST", "/api/generate", {"model": model, "stream": False})
        assert status == (404 if model is None else 400), said
    for target in ("/v1/models/..%2f..%2fetc%2fpasswd", "/api/blobs/sha256:..%2f..%2fetc"):
        assert ask(fleet, "GET" if "models" in target else "HEAD", target)[0] in {400, 404, 405}


def test_names_that_nobody_has_do_not_grow_the_metrics(fleet):
    """Each is answered; the page has a bounded number of models."""
    connection = http.client.HTTPConnection("127.0.0.1", fleet.port, timeout=60)
    for number in range(250):
        body = json.dumps({"model": f"made-up-{number}", "prompt": "x", "stream": False})
        connection.request("POST", "/api/generate", body)
        answer = connection.getresponse()
        assert answer.status == 404
        answer.read()
    connection.close()
    page = fleet.run("metrics").out
    named = set(re.findall(r'model="([^"]*)"', page))
    assert len(named) <= 103, "100 models, and what stands for none and for all others"
    assert "other" in named


def test_no_json_is_a_fault_of_the_fleet(fleet):
    """However deep, long or broken: an error of the client's, and the next request is answered."""
    deep = 100_000
    for body in (
        b"[" * deep, b'{"a":' * deep, b"[" * deep + b"]" * deep, b'"' * deep, b"1" * deep,
        b'{"model":"tiny","x":' + b"[" * deep + b"]" * deep + b"}",
        b'{"model":"nope","options":{"num_ctx":1e400},"prompt":"x"}',
        b'{"model":"\\ud800","prompt":"x"}', b'{"model":"nope","keep_alive":' + b"9" * 5000 + b"}",
        b'{"model":"\xff\xfe"}', b"\x1f\x8b\x08\x00\x00", b"\0" * 1000, b"{}" * 1000,
        b'{"model":"nope","model":{"a":1}}', b'{"model":"nope","stream":1e999}',
    ):  # fmt: skip
        for path in ("/api/generate", "/v1/chat/completions", "/api/pull", "/api/create"):
            status, said = ask(fleet, "POST", path, body)
            assert status < 500, (path, body[:60], status, said)
    assert ask(fleet, "GET", "/api/version")[0] == 200
    log = (fleet.state / "logs" / "fleet.log").read_text()
    assert "a request failed" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    "evil",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://evil.example", "Content-Type": "text/plain"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Host": "evil.example"},
        {"Host": "evil.example:11434", "Origin": "http://evil.example:11434"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)
def test_a_web_page_of_somebody_elses_does_nothing(fleet, evil):
    """By its Origin, or by a name of its own that it has had resolved to this machine."""
    body = {"model": "tiny", "keep_alive": "1h", "stream": False}
    for method, path in (
        ("POST", "/api/generate"), ("POST", "/v1/chat/completions"), ("DELETE", "/api/delete"),
        ("POST", "/api/pull"), ("GET", "/api/tags"), ("OPTIONS", "/api/chat"),
    ):  # fmt: skip
        status, said = ask(fleet, method, path, body, evil)
        assert (status, said) == (403, b""), (method, path)
    assert json.loads(ask(fleet, "GET", "/api/ps")[1])["models"] == []


def test_what_strangers_write_is_no_line_of_the_log(fleet):
    """Whatever they call a model, a line of the log is one object, without control characters."""
    sly = 'x\n{"level":"error","message":"forged"}\x1b[31m\x85\u2028'
    ask(fleet, "POST", "/api/generate", {"model": sly, "stream": False})
    ask(fleet, "POST", "/api/generate", {"model": "m", "stream": False}, {"X-Request-Id": "a\tb"})
    log = fleet.state / "logs" / "fleet.log"
    log = until(lambda: b"forged" in (told := log.read_bytes()) and told, "their lines")
    lines = [json.loads(line) for line in log.split(b"\n") if line.startswith(b"{")]
    assert not any(line.get("message") == "forged" for line in lines)
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", log)


def test_an_instance_gets_nothing_of_the_fleets_own_environment(fleet):
    """No key of another service, and no variable of the fleet's, is in any instance's memory."""
    pids = [instance["pid"] for instance in fleet.status()["instances"]]
    assert pids
    for pid in pids:
        environ = dict(
            variable.decode().split("=", 1)
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if variable
        )
        assert not SECRETS.keys() & environ.keys()
        assert not [name for name in environ if name.startswith("FLEET_")]
        assert not [value for value in environ.values() if "canary" in value]
        assert environ["OLLAMA_HOST"].startswith("127.0.0.1:")


def test_what_a_fleet_writes_is_for_its_user_alone(fleet):
    """Its folders, its socket and the files in them: no other user reads or writes any."""
    everything = [fleet.state, *fleet.state.rglob("*")]
    written = [path for path in everything if "simulation" not in path.parts]
    assert {"fleet.log", "events.jsonl", "lock"} <= {path.name for path in written}
    assert [path for path in written if _is_open_to_others(path)] == []


def _is_open_to_others(path):
    try:
        return bool(path.lstat().st_mode & 0o077)
    except FileNotFoundError:  # it was there for a moment only
        return False
