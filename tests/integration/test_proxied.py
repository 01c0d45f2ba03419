"""Behind a trusted proxy: who asks is who it says, everywhere, and no instance hears of it."""

import time

import pytest
import uvloop
from router_fixtures import Backend, answer, post, routed, stream

from ollama_fleet.api.auth import Gate
from ollama_fleet.api.auth.gate import Terms
from ollama_fleet.api.proxies import Proxies

FORWARDED = (
    b"X-Forwarded-For: 1.2.3.4, 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-Host: evil.example\r\nX-Real-IP: 1.2.3.4\r\n"
)


def asked(networks, *, extra=FORWARDED, script=stream, path="/api/generate"):
    """The record of one request, and what the instance got of it."""

    async def check():
        trusted = {"client_of": Proxies(networks).client}
        async with Backend(script) as backend, routed(backend, front_options=trusted) as router:
            assert (await router.exchange(post(path, extra=extra))).startswith(b"HTTP/1.1 200 ")
            ((head, _body),) = backend.requests
            return router.records[0], head

    return uvloop.run(check())


def test_who_asks_is_whom_the_proxy_names():
    """In the record, which log, history and metrics are made of, and as the tenant of the queue."""
    record, _ = asked(["127.0.0.0/8"])
    assert (record.client, record.tenant) == ("203.0.113.9", "203.0.113.9")


def test_of_anybody_else_the_word_is_passed_over():
    record, _ = asked(["10.0.0.0/8"])
    assert (record.client, record.tenant) == ("127.0.0.1", "127.0.0.1")


@pytest.mark.parametrize("networks", [["127.0.0.1"], []])
def test_no_instance_hears_who_asked(networks):
    """An Ollama would believe it, and write it into its log."""
    extra = FORWARDED + b"Forwarded: for=203.0.113.9;host=evil.example\r\nX-End: stays\r\n"
    script = answer(200, b"{}")
    _, head = asked(networks, extra=extra, script=script, path="/api/show")
    names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
    assert b"x-end" in names
    assert not [name for name in names if b"forwarded" in name or name == b"x-real-ip"]


@pytest.mark.parametrize(
    ("extra", "refused"),
    [
        (b"", False),
        (b"X-Forwarded-For: 127.0.0.1\r\n", True),
        (b"Forwarded: for=127.0.0.1\r\n", True),
    ],
)
def test_a_proxy_that_nobody_trusts_brings_no_admins(extra, refused):
    """It often asks for localhost, whoever has asked the proxy, and stands on this machine."""

    async def check():
        door = Gate(Terms(by_name=True), clock=time.monotonic, wall=time.time)
        async with Backend(answer(400, b"{}")) as backend, routed(backend, gate=door) as router:
            asked = post("/api/copy", b"{}", extra=extra).replace(b"Host: x", b"Host: localhost")
            told = await router.exchange(asked)
            assert told.startswith(b"HTTP/1.1 403 ") is refused, told
            assert bool(backend.requests) is not refused

    uvloop.run(check())
