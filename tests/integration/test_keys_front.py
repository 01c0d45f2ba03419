"""Keys at a real front: what a caller is told, and that its key goes no further."""

import asyncio
import json
import time
from random import Random

import pytest
from managed_paths import MANAGEMENT, METHODS, paths
from router_fixtures import Backend, answer, line, post, routed, stream

from ollama_fleet.api.auth import Bounds, Caller, Gate, Models, Role, Terms
from ollama_fleet.api.auth.presented import digest, new_key
from ollama_fleet.api.auth.rates import Rate
from ollama_fleet.api.auth.ring import KeyRing
from ollama_fleet.control.library import allowed
from ollama_fleet.names import ModelName, canonical
from ollama_fleet.state import StoredModel

USER, ADMIN = new_key(), new_key()
BEARER = f"Authorization: Bearer {USER}\r\n".encode()
AS_ADMIN = f"Authorization: Bearer {ADMIN}\r\n".encode()
OK = answer(200, line(model="m", done=True, prompt_eval_count=3, eval_count=2))
RAW = 300


def gate(terms=None, **fields):
    made = Gate(terms or Terms(required=True), clock=time.monotonic, wall=time.time)
    made.refusals = []
    made.denied = lambda why, address: made.refusals.append((str(why), address))
    callers = Caller("ann", Role.USER, **fields), Caller("root")
    digests = (digest(b"s", key) for key in (USER, ADMIN))
    made.renew(KeyRing(b"s", dict(zip(digests, callers, strict=True))))
    return made


def parsed(raw):
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
    return int(first.split()[1]), fields, body


def talk(made, script, check, **options):
    """Run `check(ask, backend, router)`, where `ask` sends raw bytes and parses the answer."""

    async def run():
        async with Backend(script) as backend, routed(backend, gate=made, **options) as router:

            async def ask(raw):
                return parsed(await router.exchange(raw))

            return await check(ask, backend, router)

    return asyncio.run(run())


def get(path, extra=b""):
    return b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n" % (path.encode(), extra)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/api/chat", lambda told: told["error"]),
        ("/v1/chat/completions", lambda told: told["error"]["code"] == "invalid_api_key"),
        ("/v1/messages", lambda told: told["error"]["type"] == "authentication_error"),
    ],
)
@pytest.mark.parametrize("extra", [b"", b"X-Api-Key: fleet_wrong\r\n", b"X-Api-Key: ollama\r\n"])
def test_without_a_key_each_dialect_is_refused_in_its_own_words(path, error, extra):
    made = gate()

    async def check(ask, backend, _router):
        status, fields, body = await ask(post(path, extra=extra))
        assert (status, fields["www-authenticate"]) == (401, 'Bearer realm="ollama-fleet"')
        assert error(json.loads(body))
        assert backend.requests == []

    talk(made, OK, check)
    assert made.refusals == [("unknown_key" if b"fleet" in extra else "no_key", "127.0.0.1")]


@pytest.mark.parametrize(
    ("before", "extra"),
    [
        ("", BEARER),
        ("", f"X-Api-Key: {USER}\r\n".encode()),
        (f"/k/{USER}", b""),
        (f"/k/{USER}", f"Referer: http://x/k/{USER}/\r\nX-Kept: yes\r\n".encode()),
    ],
    ids=["bearer", "x-api-key", "path", "path-and-referer"],  # the key is another one in every run
)
def test_a_key_opens_the_front_and_no_instance_sees_it(before, extra):
    async def check(ask, backend, router):
        status, _, body = await ask(post(before + "/api/chat", extra=extra))
        assert (status, json.loads(body)["done"]) == (200, True)
        ((head, _),) = backend.requests
        assert head.startswith(b"POST /api/chat HTTP/1.1\r\n")
        assert b"fleet_" not in head
        assert (b"X-Kept: yes" in head) == (b"X-Kept" in extra)
        assert [record.tenant for record in router.records] == ["ann"]
        assert USER not in repr(router.records)

    talk(gate(), OK, check)


def test_an_unclean_path_leads_back_behind_its_key():
    async def check(ask, _backend, _router):
        status, fields, _ = await ask(get(f"/k/{USER}//api/tags"))
        assert (status, fields["location"]) == (307, f"/k/{USER}/api/tags")
        status, _, body = await ask(get(fields["location"]))
        assert [model["name"] for model in json.loads(body)["models"]] == ["m:latest"]

    talk(gate(), OK, check)


def test_a_cloud_model_that_a_key_may_not_use_is_not_listed_for_it_either():
    async def check(ask, backend, router):
        rows = [StoredModel(canonical(n), n, "d", 1, {"name": n}) for n in ("m:latest", "b:cloud")]
        for instance in router.state.instances.values():
            router.state.set_stored(instance, rows)
        for path, key, named in (("/api/tags", "models", "name"), ("/v1/models", "data", "id")):
            for extra, seen in ((BEARER, {"m:latest"}), (AS_ADMIN, {"m:latest", "b:cloud"})):
                _, _, body = await ask(get(path, extra))
                assert {each[named] for each in json.loads(body)[key]} == seen
        assert (await ask(post("/api/show", b'{"model":"b:cloud"}', extra=BEARER)))[0] == 404
        assert backend.requests == []

    talk(gate(), OK, check)


def test_whom_a_trusted_proxy_brings_from_elsewhere_is_no_admin_whatever_host_it_writes():
    """A proxy on this machine often asks for 127.0.0.1, whoever has asked the proxy."""
    body = b"Host: 127.0.0.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"

    async def check(ask, backend, _router):
        for brought, status in ((b"", 400), (b"X-From: 203.0.113.9\r\n", 403)):
            found = await ask(b"POST /api/copy HTTP/1.1\r\n" + brought + body)
            assert found[0] == status, brought
            assert len(backend.requests) == (status == 400), brought
            backend.requests.clear()

    def client(connected, headers):
        return headers.get("X-From", connected)

    refused = answer(400, b'{"error":"no"}')
    talk(gate(Terms(by_name=True)), refused, check, front_options={"client_of": client})


def test_that_it_runs_is_told_to_everybody_and_what_is_no_route_is_none():
    async def check(ask, _backend, _router):
        assert (await ask(get("/")))[::2] == (200, b"Ollama is running")
        assert (await ask(get("/nowhere")))[0] == 404
        assert (await ask(get("/api/tags")))[0] == 401

    talk(gate(), OK, check)


def test_a_key_for_some_models_sees_and_uses_these_only():
    """Lists, lookups and requests agree, whatever other names a body holds besides."""
    twice = b'{"model":"m","prompt":"x","mod\\u0065l":"other"}'
    folded = b'{"model":"m","MODEL":"other"}'
    unread = b'{"model":"m"'

    async def check(ask, backend, router):
        for instance in router.state.instances.values():
            rows = [StoredModel(canonical(n), n, "d", 1, {"name": n}) for n in ("m:latest", "b:1")]
            router.state.set_stored(instance, rows)
        for path, key in (("/api/tags", "models"), ("/v1/models", "data")):
            _, _, body = await ask(get(path, BEARER))
            assert [each.get("id", each.get("name")) for each in json.loads(body)[key]] == [
                "m:latest"
            ]
            _, _, body = await ask(get(path, AS_ADMIN))
            assert len(json.loads(body)[key]) == 2
        for body in (b'{"model":"other"}', twice, folded, unread, b"{}", b"[1]"):
            for path in ("/api/chat", "/v1/completions", "/v1/messages", "/api/show"):
                status, _, told = await ask(post(path, body, extra=BEARER))
                assert (status, b"not found, or not for this key" in told) == (404, True), body
        assert (await ask(get("/v1/models/other", BEARER)))[0] == 404
        assert backend.requests == []
        assert (await ask(post("/api/chat", b'{"MODEL":"M:latest"}', extra=BEARER)))[0] == 200

    talk(gate(models=Models.named(["m"])), OK, check)


def test_requests_beyond_a_budget_are_told_when_to_come_again():
    async def check(ask, backend, _router):
        status, fields, _ = await ask(post("/v1/chat/completions", extra=BEARER))
        assert (status, fields["x-ratelimit-remaining-requests"]) == (200, "0")
        status, fields, body = await ask(post("/v1/chat/completions", extra=BEARER))
        assert (status, json.loads(body)["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 3000 < int(fields["retry-after"]) <= 3600
        assert fields["x-ratelimit-limit-requests"] == "1"
        assert (await ask(get("/api/tags", BEARER)))[0] == 200
        assert (await ask(post("/v1/chat/completions", extra=AS_ADMIN)))[0] == 200
        assert len(backend.requests) == 2

    talk(gate(requests=Rate(1, 3600.0)), OK, check)


def test_one_too_many_at_once_is_refused_and_the_next_is_not():
    release = asyncio.Event()

    async def held(backend, request, writer):
        await release.wait()
        await stream(backend, request, writer)

    async def check(ask, backend, _router):
        first = asyncio.create_task(ask(post("/api/chat", extra=BEARER)))
        await backend.arrived.wait()
        status, fields, _ = await ask(post("/api/chat", extra=BEARER))
        assert (status, fields["retry-after"]) == (429, "1")
        release.set()
        assert (await first)[0] == 200
        assert (await ask(post("/api/chat", extra=BEARER)))[0] == 200

    talk(gate(concurrent=1), held, check)


def test_a_client_that_leaves_counts_no_longer():
    made = gate(concurrent=1)

    async def forever(backend, _request, _writer):
        await backend.closed.wait()

    async def check(ask, backend, router):
        _, writer = await asyncio.open_connection("127.0.0.1", router.front.port)
        writer.write(post("/api/chat", extra=BEARER))
        await backend.arrived.wait()
        writer.close()
        backend.script = OK
        async with asyncio.timeout(20):
            while (await ask(post("/api/chat", extra=BEARER)))[0] != 200:
                await asyncio.sleep(0.01)

    talk(made, forever, check)


def test_options_beyond_the_bounds_of_users_are_refused_and_admins_have_none():
    body = b'{"model":"m","options":{"num_ctx":99999}}'

    async def check(ask, backend, _router):
        status, _, told = await ask(post("/api/chat", body, extra=BEARER))
        assert (status, b"num_ctx to 4096 at most" in told) == (403, True)
        assert backend.requests == []
        assert (await ask(post("/api/chat", body, extra=AS_ADMIN)))[0] == 200
        assert (await ask(post("/v1/completions", body, extra=BEARER)))[0] == 200

    talk(gate(bounds=Bounds(max_context=4096)), OK, check)


EVIL = (
    b'{"model":"http://169.254.169.254/x/y"}',
    b'{"model":"evil.example/a/b","insecure":true}',
    b'{"model":"evil.example/a/b","stream":"no"}',
    b'{"model":5,"name":"evil.example/a/b"}',
    b'{"model":"evil.example/a/b","pad":' + b"1" * 5000 + b"}",
    b'{"model":"evil.example/a/b","pad":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"model":"evil.example/a/b","pad":"' + b"x" * 2_000_000 + b'"}',
    b'{"m\\u006fdel":"EVIL.example/a/b","username":7}',
)


@pytest.mark.parametrize("path", ["/api/pull", "/api/push", "/api/create"])
def test_no_instance_is_sent_to_a_registry_that_is_not_allowed(path):
    """However large, deep or wrong the body is in which it is named."""
    rule = allowed(["registry.ollama.ai"], insecure=False)

    async def pull(name, insecure):
        rule(ModelName.parse(name), insecure)
        for record in ():
            yield record

    async def check(ask, backend, _router):
        for body in map(_for_create, EVIL) if path == "/api/create" else EVIL:
            status, _, told = await ask(post(path, body, extra=AS_ADMIN))
            assert status in {400, 403, 413}, body[:60]
            assert backend.requests == [], body[:60]
            assert status != 403 or b"models may not be pulled from" in told

    talk(gate(), OK, check, pull=pull, may=rule, body_bytes=2**23)


def _for_create(body):
    for name in (b"model", b"name", b"m\\u006fdel"):
        body = body.replace(b'"%b"' % name, b'"from"')
    return body


def test_bytes_as_no_client_writes_them_change_nothing_without_an_admins_key():
    rng = Random(11)
    targets = [(of, t) for of, path in MANAGEMENT for t in paths(rng, path, 160)]
    backing = rng.sample(targets, RAW)

    async def check(ask, backend, router):
        async def send(of_method, target):
            method = rng.choice((of_method, *METHODS))
            before, extra = rng.choice((("", BEARER), (f"/k/{USER}", b""), ("", b"")))
            body = b'{"model":"m","source":"m","destination":"n","from":"m"}'
            raw = (
                f"{method} {before}{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                f"X-HTTP-Method-Override: {of_method}\r\nContent-Length: {len(body)}\r\n"
            )
            await router.exchange(raw.encode() + extra + b"\r\n" + body)

        for at in range(0, RAW, 20):
            await asyncio.gather(*(send(*each) for each in backing[at : at + 20]))
        lines = {head.split(b"\r\n")[0] for head, _ in backend.requests}
        wanted = ("pull", "push", "create", "copy", "delete", "blobs", "/me", "signout", "user")
        assert [each for each in lines if any(word.encode() in each for word in wanted)] == []
        assert (await ask(post("/api/me", extra=AS_ADMIN)))[0] == 200
        assert backend.requests[-1][0].startswith(b"POST /api/me ")

    talk(gate(), OK, check)
