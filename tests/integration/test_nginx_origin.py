"""The same bent requests with nginx behind the router: another reader of what gets past it."""

import asyncio
import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest
import uvloop
from router_fixtures import post, routed

from ollama_fleet.bench.ports import free_port
from ollama_fleet.bench.smuggling import make_case
from ollama_fleet.bench.smuggling.reading import read

SEED, CASES = 11, 300
CONFIG = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  log_format seen '$request_method $uri $http_x_request_id';
  access_log {folder}/seen.log seen;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{{"done":true}}'; }}
  }}
}}
"""


@pytest.fixture
def nginx(tmp_path):
    """An nginx that answers everything; `seen()` are the requests that it has read."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("there is no nginx")
    port, config = free_port(), tmp_path / "nginx.conf"
    config.write_text(CONFIG.format(folder=tmp_path, port=port))
    if os.geteuid() == 0:  # its workers are nobody otherwise, who may not write here
        config.write_text(f"user root;\n{config.read_text()}")
    log = tmp_path / "seen.log"
    with subprocess.Popen([program, "-c", str(config), "-e", str(tmp_path / "error.log")]) as run:
        yield SimpleNamespace(port=port, seen=lambda: log.read_text().splitlines())
        run.terminate()


async def answers(port, writes):
    """How many final answers come to what a client writes before it shuts down its half."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            for piece in writes:
                writer.write(piece)
                await asyncio.sleep(0)
            if not writer.is_closing():
                writer.write_eof()
            return (await reader.read()).count(b'{"done":true}')
    except (ConnectionError, OSError):
        return 0
    finally:
        writer.transport.abort()


def test_nginx_sees_each_request_once_and_nothing_that_is_hidden_in_one(nginx):
    """What it reads is at most what was meant, each with an id of the router's of its own."""

    async def check():
        async with asyncio.timeout(20):  # until it listens
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", nginx.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        async with routed(nginx, slots=8) as router:
            meant = answered = 0
            for number in range(CASES):
                case = make_case(SEED, number)
                meant += len(read(case.data).messages)
                answered += await answers(router.front.port, case.writes)
            last = post("/api/show", extra=b"X-Request-Id: the-last\r\n")
            assert (await router.exchange(last)).startswith(b"HTTP/1.1 200 ")
            async with asyncio.timeout(20):
                while not any(line.endswith(" the-last") for line in nginx.seen()):
                    await asyncio.sleep(0.02)
        return meant, answered

    meant, answered = uvloop.run(check())
    lines = [line for line in nginx.seen() if not line.endswith(" the-last")]
    ids = [line.split(" ")[2] for line in lines]
    assert answered <= len(lines) <= meant
    assert len(set(ids)) == len(ids)
    assert "-" not in ids, "each has an id, so that each was the router's own"
    assert answered > CASES // 10
