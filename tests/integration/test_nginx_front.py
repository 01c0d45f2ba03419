"""nginx before the router, one connection kept between them: nobody gets another's answer."""

import asyncio
import os
import re
import shutil
import subprocess
from types import SimpleNamespace

import pytest
import uvloop
from fleet_process import free_port
from router_fixtures import Backend, answer, post, routed

from ollama_fleet.api.proxies import UNKNOWN, Proxies
from ollama_fleet.bench.smuggling import make_case

SEED, CASES = 5, 150
CLIENT = "127.0.0.2"
CONFIG = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream fleet {{ server 127.0.0.1:{behind}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{port};
    underscores_in_headers on; ignore_invalid_headers off; merge_slashes off;
    location / {{
      proxy_pass http://fleet;
      proxy_http_version 1.1;
      proxy_set_header Host localhost; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_request_buffering off; proxy_buffering off;
    }}
  }}
}}
"""


@pytest.fixture
def nginx(tmp_path):
    """Starts an nginx before a port; all it can pass on unread, it passes on."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("there is no nginx")
    started = []

    def start(behind):
        port, config = free_port(), tmp_path / "nginx.conf"
        user = "user root;\n" if os.geteuid() == 0 else ""
        config.write_text(user + CONFIG.format(folder=tmp_path, port=port, behind=behind))
        errors = str(tmp_path / "error.log")
        started.append(subprocess.Popen([program, "-c", str(config), "-e", errors]))
        return SimpleNamespace(port=port)

    yield start
    for each in started:
        each.terminate()
        each.wait(20)


async def said(port, *writes):
    """All that comes back until nginx closes, or nothing more is owed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(CLIENT, 0))
    try:
        async with asyncio.timeout(20):
            for piece in writes:
                writer.write(piece)
                await asyncio.sleep(0)
            if not writer.is_closing() and len(writes) != 1:
                writer.write_eof()
            return await reader.read()
    except (ConnectionError, OSError):
        return b""
    finally:
        writer.transport.abort()


async def until_it_listens(port):
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def own(body):
    """What a request's body says of whose it is."""
    found = re.search(rb"client-\d+", body)
    return found[0] if found else b"nobody"


async def named(backend, request, writer):
    await answer(200, b'{"for":"%s"}' % own(request[1]))(backend, request, writer)


def test_each_client_gets_its_own_answer_whatever_others_sent_before_it(nginx):
    """Nor is anybody taken for another: the first address that nginx writes is the client's."""

    async def check():
        options = {"client_of": Proxies(["127.0.0.1"]).client}
        async with Backend(named) as backend, routed(backend, slots=8, front_options=options) as r:
            port = nginx(r.front.port).port
            await until_it_listens(port)
            wrong = []
            for number in range(CASES):
                await said(port, *make_case(SEED, number).writes, b"")
                mine = b"client-%d" % number
                forged = b"X-Forwarded-For: 1.2.3.4\r\n"
                asked = post("/api/show", b'{"model":"%s"}' % mine, extra=forged)
                told = await said(port, asked)
                if not told.endswith(b'{"for":"%s"}' % mine):
                    wrong.append((number, told))
            reached = len(backend.requests)
        return wrong, reached, {record.client for record in r.records}

    wrong, reached, clients = uvloop.run(check())
    assert not wrong
    assert reached > CASES * 5 // 4, "bent requests got past nginx and the router, too"
    assert CLIENT in clients
    assert clients <= {CLIENT, UNKNOWN}
