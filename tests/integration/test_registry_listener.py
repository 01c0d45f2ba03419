"""The fleet's registry for other machines' pulls, from raw sockets: what can be read, what not."""

import asyncio
import hashlib
import json
import os
import socket
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop
from fleet_process import call
from real_ollama import served

from ollama_fleet.api.registry import Registry
from ollama_fleet.api.registry.reach import own_address
from ollama_fleet.control.stores import read_store
from ollama_fleet.errors import CannotListen, FleetError

WEIGHTS = bytes(range(256)) * 40_000  # more than any socket buffers
NEAR = "http://127.0.0.1:11434"  # an instance on this machine
CONFIG, SECRET = b"{}", b"of another model"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def put(store, name, *contents):
    """A model of these blobs, the last one its config."""
    layers = [{"digest": digest(content), "size": len(content)} for content in contents]
    for content in contents:
        (store / "blobs").mkdir(exist_ok=True)
        (store / "blobs" / digest(content).replace(":", "-")).write_bytes(content)
    path = store / "manifests" / "registry.ollama.ai" / "library" / name / "latest"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"layers": layers[:-1], "config": layers[-1]}))


@pytest.fixture
def store(tmp_path):
    """A store of two models, and a file beside it."""
    put(tmp_path, "tiny", WEIGHTS, CONFIG)
    put(tmp_path, "other", SECRET, CONFIG)
    (tmp_path / "key").write_text("a secret")
    return tmp_path


def run(coroutine):
    uvloop.run(coroutine)


def model_of(store, name="tiny"):
    return read_store(store).model(f"registry.ollama.ai/library/{name}:latest")


def registry():
    return Registry("127.0.0.1", 0, clock=time.monotonic)


@asynccontextmanager
async def offered(store):
    """A registry that offers tiny; its host and port, and the path of the model."""
    async with registry().offer(model_of(store), store, NEAR) as name:
        host, token, _ = name.split("/")
        yield host, f"/v2/{token}/tiny"


async def ask(host, target, *, method="GET", headers=""):
    """One request on a connection of its own; all that comes back."""
    address, port = host.split(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(20):
        raw = await reader.read()
    writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(status_line.split()[1]), fields, body)


def test_a_model_can_be_read_whole_by_who_has_its_token(store):
    """Its manifest to the byte, and each blob that it names, by GET and HEAD."""

    async def check():
        async with offered(store) as (host, path):
            manifest = await ask(host, f"{path}/manifests/latest")
            assert (manifest.status, manifest.body) == (200, model_of(store).content)
            for content in (WEIGHTS, CONFIG):
                target = f"{path}/blobs/{digest(content)}"
                blob, head = await ask(host, target), await ask(host, target, method="HEAD")
                assert (blob.status, blob.body) == (200, content)
                assert (head.status, head.body) == (200, b"")
                for answer in (blob, head):
                    assert answer.headers["content-length"] == str(len(content))
                    assert answer.headers["location"] == target.lower()

    run(check())


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-", 5, len(WEIGHTS)),
        ("bytes=1000-2000000", 1000, 2_000_001),
        ("bytes=-7", len(WEIGHTS) - 7, len(WEIGHTS)),
        (f"bytes=3-{10 * len(WEIGHTS)}", 3, len(WEIGHTS)),
    ],
)
def test_a_range_is_those_bytes_and_says_so(store, wanted, first, end):
    async def check():
        async with offered(store) as (host, path):
            target = f"{path}/blobs/{digest(WEIGHTS)}"
            answer = await ask(host, target, headers=f"Range: {wanted}\r\n")
            assert (answer.status, answer.body) == (206, WEIGHTS[first:end])
            assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{len(WEIGHTS)}"

    run(check())


@pytest.mark.parametrize("wanted", [f"bytes={len(WEIGHTS)}-", "bytes=9-3", "bytes=a-b", "lines=1"])
def test_a_range_that_is_none_is_refused(store, wanted):
    async def check():
        async with offered(store) as (host, path):
            target = f"{path}/blobs/{digest(WEIGHTS)}"
            answer = await ask(host, target, headers=f"Range: {wanted}\r\n")
            assert (answer.status, answer.body) == (416, b"")

    run(check())


def test_a_kept_connection_serves_one_range_after_another(store):
    """Head and bytes go to the socket by different hands, and still come in order."""

    async def check():
        async with offered(store) as (host, path):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(host.split(":")[1]))
            target = f"{path}/blobs/{digest(WEIGHTS)}"
            for first in range(0, 5_000_000, 1_000_000):
                wanted = f"Range: bytes={first}-{first + 999_999}"
                writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n{wanted}\r\n\r\n".encode())
                writer.write(f"GET {path}/blobs/none HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            async with asyncio.timeout(20):
                for first in range(0, 5_000_000, 1_000_000):
                    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 206")
                    body = await reader.readexactly(1_000_000)
                    assert body == WEIGHTS[first : first + 1_000_000]
                    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
                    assert await reader.readexactly(9) == b"not found"
            writer.close()

    run(check())


def test_nothing_else_can_be_read(store):
    """No other blob or model, no file, no list, no other way to write it; all with one answer."""

    async def check():
        async with offered(store) as (host, path):
            token, blob = path.split("/")[2], digest(WEIGHTS)
            refused = [
                await ask(host, target)
                for target in (
                    f"{path}/blobs/{digest(SECRET)}",
                    f"{path}/blobs/sha256:{'0' * 64}",
                    f"{path}/manifests/other",
                    f"/v2/{token}/other/manifests/latest",
                    f"/v2/library/tiny/blobs/{blob}",
                    "/v2/library/tiny/manifests/latest",
                    f"/v2/{token[:-1]}/tiny/manifests/latest",
                    f"/v2/{token.upper()}X/tiny/manifests/latest",
                    f"/v2//tiny/blobs/{blob}",
                    f"{path}/blobs/../../../../key",
                    f"{path}/blobs/..%2f..%2fkey",
                    f"{path}/blobs/sha256:..%2f..%2fkey",
                    f"{path}/../tiny/manifests/latest",
                    f"{path}/manifests/latest?a=b",
                    f"{path}/manifests/%6catest",
                    f"{path}/blobs/{blob}%00",
                    "/",
                    "/v2/",
                    "/v2/_catalog",
                    f"{path}/tags/list",
                    "/api/tags",
                    "/metrics",
                )
            ]
            refused += [
                await ask(host, f"{path}/manifests/latest", method=method)
                for method in ("PUT", "POST", "DELETE", "PATCH", "OPTIONS")
            ]
            assert {(a.status, a.body) for a in refused} == {(404, b"not found")}

    run(check())


def test_a_blob_that_is_not_as_its_manifest_says_is_not_sent(store):
    async def check():
        async with offered(store) as (host, path):
            blob = store / "blobs" / digest(WEIGHTS).replace(":", "-")
            blob.write_bytes(WEIGHTS[:-1])
            assert (await ask(host, f"{path}/blobs/{digest(WEIGHTS)}")).status == 404
            blob.unlink()
            assert (await ask(host, f"{path}/blobs/{digest(WEIGHTS)}")).status == 404
            os.mkfifo(blob)
            assert (await ask(host, f"{path}/blobs/{digest(WEIGHTS)}")).status == 404

    run(check())


def test_a_link_is_followed_only_to_a_file_of_who_laid_it(store, tmp_path):
    """The store of another user must not be the way to what he may not read himself."""
    if os.geteuid():
        pytest.skip("only root can lay a link in another user's name")

    async def check():
        async with offered(store) as (host, path):
            blob = store / "blobs" / digest(WEIGHTS).replace(":", "-")
            blob.rename(tmp_path / "weights")
            blob.symlink_to(tmp_path / "weights")
            assert (await ask(host, f"{path}/blobs/{digest(WEIGHTS)}")).body == WEIGHTS
            os.lchown(blob, 12345, 12345)
            assert (await ask(host, f"{path}/blobs/{digest(WEIGHTS)}")).status == 404
            os.chown(tmp_path / "weights", 12345, 12345)
            assert (await ask(host, f"{path}/blobs/{digest(WEIGHTS)}")).body == WEIGHTS

    run(check())


def test_nobody_listens_unless_something_is_offered(store):
    """Before the first offer, and after the last; with two, until both are over."""

    async def check():
        one = registry()
        async with one.offer(model_of(store), store, NEAR) as first:
            async with one.offer(model_of(store, "other"), store, NEAR) as second:
                host, token, _ = first.split("/")
                other_host, other_token, _ = second.split("/")
                assert (host, token != other_token) == (other_host, True)
            gone = await ask(host, f"/v2/{other_token}/other/manifests/latest")
            here = await ask(host, f"/v2/{token}/tiny/manifests/latest")
            assert (gone.status, here.status) == (404, 200)
        with pytest.raises(ConnectionRefusedError):
            await ask(host, "/")
        async with one.offer(model_of(store), store, NEAR) as again:
            host = again.partition("/")[0]
            assert (await ask(host, f"/v2/{token}/tiny/manifests/latest")).status == 404

    run(check())


def test_what_is_being_read_when_its_offer_ends_is_cut(store):
    async def check():
        one = registry()
        async with one.offer(model_of(store, "other"), store, NEAR):  # keeps it open
            async with one.offer(model_of(store), store, NEAR) as name:
                host, token, _ = name.split("/")
                target = f"/v2/{token}/tiny/blobs/{digest(WEIGHTS)}"
                narrow = socket.socket()
                # The kernel would take all of it for a reader that does not keep up.
                narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
                narrow.connect(("127.0.0.1", int(host.split(":")[1])))
                reader, writer = await asyncio.open_connection(sock=narrow)
                writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                got = len(await reader.readuntil(b"\r\n\r\n"))
            async with asyncio.timeout(20):
                try:
                    while data := await reader.read(1 << 20):
                        got += len(data)
                except ConnectionError:
                    pass
            writer.close()
            assert got < len(WEIGHTS)

    run(check())


def test_an_instance_elsewhere_pulls_from_it_what_then_bears_its_right_name(store, tmp_path):
    """Copied to that name and without the token's, it is the model it was, to the digest."""
    model = model_of(store)
    command = [sys.executable, "-m", "ollama_fleet.sim.ollama", "serve"]
    home = tmp_path / "elsewhere"
    with served(command, home, home / "models", OLLAMA_SIM_TIME_SCALE="50") as base:

        async def check():
            async with registry().offer(model, store, base) as name:
                wanted = {"model": name, "insecure": True, "stream": False}
                answer = await asyncio.to_thread(call, f"{base}/api/pull", wanted)
                assert answer == {"status": "success"}
            call(f"{base}/api/copy", {"source": name, "destination": model.name})
            call(f"{base}/api/delete", {"model": name}, method="DELETE")

        run(check())
        (listed,) = call(f"{base}/api/tags")["models"]
        assert (listed["name"], listed["digest"]) == ("tiny:latest", model.digest)


def test_clients_that_hang_up_leave_nothing_behind(store, caplog):
    """No task, no descriptor, no line in the log; and the registry goes on."""

    async def check():
        async with offered(store) as (host, path):
            target = f"{path}/blobs/{digest(WEIGHTS)}"
            assert (await ask(host, target)).body == WEIGHTS
            before = descriptors()
            for _ in range(30):
                _, writer = await asyncio.open_connection("127.0.0.1", int(host.split(":")[1]))
                writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                await writer.drain()
                writer.transport.abort()
            assert (await ask(host, target)).body == WEIGHTS
            async with asyncio.timeout(20):
                while len(asyncio.all_tasks()) > 1 or descriptors() > before:
                    await asyncio.sleep(0.01)

    run(check())
    assert caplog.records == []


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_port_that_is_taken_is_told_and_the_next_offer_tries_again(store):
    async def check():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            one = Registry("127.0.0.1", taken.getsockname()[1], clock=time.monotonic)
            with pytest.raises(CannotListen, match="in use"):
                async with one.offer(model_of(store), store, NEAR):
                    pass
        async with one.offer(model_of(store), store, NEAR) as name:
            host, token, _ = name.split("/")
            assert (await ask(host, f"/v2/{token}/tiny/manifests/latest")).status == 200

    run(check())


def test_this_machine_is_called_by_the_address_that_leads_to_the_other():
    async def check():
        assert await own_address("http://127.0.0.1:11434") == "127.0.0.1"
        with pytest.raises(FleetError, match="IPv4"):
            await own_address("http://[::1]:11434")

    run(check())
