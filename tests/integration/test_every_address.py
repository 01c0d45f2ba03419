"""A front on `::` is reached by IPv4 too, as the Ollama whose place it takes was."""

import asyncio
import socket
import ssl

import pytest
from certificates import Authority

from ollama_fleet.api.connection import Answer, Front
from ollama_fleet.bench.ports import free_port
from ollama_fleet.system.loop import run


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


async def hello(_request):
    return Answer(200, b"hello")


async def asked(host, port, secured=None):
    """What a front says to a client that comes by this address."""
    reader, writer = await asyncio.open_connection(host, port, ssl=secured)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    said = await reader.read()
    writer.close()
    return said


async def by_both(trusting=None, **options):
    port = free_port()
    async with asyncio.timeout(20), Front(hello, "::", port, drain_s=1.0, **options):
        return [await asked(host, port, trusting) for host in ("127.0.0.1", "::1")]


def test_every_address_is_those_of_both_families():
    """Python's loops take `::` for IPv6 alone; Go, and so Ollama, takes it for both."""
    assert all(said.endswith(b"hello") for said in run(by_both()))


def test_it_is_so_with_tls(tmp_path):
    authority = Authority(tmp_path)
    cert, key = tmp_path / "fleet.pem", tmp_path / "fleet.key"
    authority.issue(cert, key)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=authority.file)
    trusting.check_hostname = False
    said = run(by_both(trusting, tls=lambda: serving))
    assert all(each.endswith(b"hello") for each in said)
