"""Registries that answer as none should: what is told of them, and what they are not given."""

import json
import ssl
import struct

import aiohttp
import pytest
import uvloop
from aiohttp import web
from aiohttp.test_utils import TestServer
from certificates import Authority

from ollama_fleet.bench.vram.files import head, store
from ollama_fleet.bench.vram.models import MODELS
from ollama_fleet.errors import OllamaError
from ollama_fleet.names import ModelName
from ollama_fleet.ollama.registry import Registries, new_session
from ollama_fleet.vram import shape_of

BERT = MODELS["bert"]()
DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The file of a model whose head is 0.6 MB long."""
    folder = tmp_path_factory.mktemp("odd") / "models"
    store(folder, [BERT])
    (blob,) = (path for path in (folder / "blobs").iterdir() if path.stat().st_size > 2**24)
    return blob


def manifest(size_bytes, *more):
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": DIGEST}
    layers = [*more, {**layer, "size": size_bytes}]
    return web.Response(body=json.dumps({"layers": layers}))


async def asked(answers):
    """What is told of a model by a server that answers so to a manifest and to blobs."""
    app = web.Application()
    app.router.add_get("/v2/library/m/manifests/latest", answers["manifest"])
    app.router.add_get("/{rest:.*}", answers.get("blob", answers["manifest"]))
    async with TestServer(app) as server, new_session() as session:
        name = ModelName.parse(f"http://{server.host}:{server.port}/library/m")
        registries = Registries(session, insecure=True)
        return await registries.shape(await registries.model(name))


def test_a_head_that_comes_in_small_pieces_of_more_than_was_asked_for_is_read(weights):
    """And no more than was asked for is taken."""

    async def blob(request):
        start = int(request.headers["Range"].removeprefix("bytes=").partition("-")[0])
        with weights.open("rb") as file:
            file.seek(start)
            answer = web.StreamResponse(status=206)
            await answer.prepare(request)
            while piece := file.read(10_000):
                await answer.write(piece)
        return answer

    async def told(_request):
        return manifest(weights.stat().st_size)

    shape = uvloop.run(asked({"manifest": told, "blob": blob}))
    assert shape == shape_of(head(BERT))


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/again", "sends on and on"),
        ("ftp://127.0.0.1/x", "ftp://127.0.0.1/x, which is not safe"),
        ("file:///etc/passwd", "which is not safe"),
        ("http://[half", "cannot be asked"),
        ("http://:99999999/", "cannot be asked"),
    ],
)
def test_it_is_not_followed_everywhere_nor_for_ever(location, reason):
    async def onward(_request):
        return web.Response(status=307, headers={"Location": location})

    with pytest.raises(OllamaError, match=reason):
        uvloop.run(asked({"manifest": onward}))


def test_from_tls_nobody_is_led_to_none(tmp_path):
    """Who can change what passes could answer in the registry's stead."""
    authority = Authority(tmp_path)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.issue(cert, key)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=authority.file)

    async def onward(request):
        return web.Response(status=307, headers={"Location": f"http://{request.host}/v2/x"})

    async def check():
        app = web.Application()
        app.router.add_get("/{rest:.*}", onward)
        connector = aiohttp.TCPConnector(ssl=trusting)
        server = TestServer(app, scheme="https")
        await server.start_server(ssl=serving)
        try:
            async with aiohttp.ClientSession(connector=connector) as session:
                name = ModelName.parse(f"{server.host}:{server.port}/library/m")
                with pytest.raises(OllamaError, match="which is not safe"):
                    await Registries(session, insecure=True).model(name)
        finally:
            await server.close()

    uvloop.run(check())


def test_who_knows_no_ranges_is_read_from_the_start(weights):

    async def whole(_request):
        return web.FileResponse(weights)

    async def told(_request):
        return manifest(weights.stat().st_size)

    async def plain(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        with weights.open("rb") as file:
            while piece := file.read(2**18):
                await answer.write(piece)
        return answer

    assert uvloop.run(asked({"manifest": told, "blob": plain})) == shape_of(head(BERT))
    assert uvloop.run(asked({"manifest": told, "blob": whole})) == shape_of(head(BERT))


def test_who_knows_ranges_at_first_only_is_told_on():
    """Its second answer would begin where the first did."""
    long = b"".join([  # a head of 8 MB
        b"GGUF", struct.pack("<IQQ", 3, 0, 1), struct.pack("<Q", 1), b"a",
        struct.pack("<IIQ", 9, 10, 2**20),
    ])  # fmt: skip

    async def told(_request):
        return manifest(2**24)

    async def blob(request):
        first = request.headers["Range"].startswith("bytes=0-")
        return web.Response(status=206 if first else 200, body=long.ljust(2**20, b"\0"))

    with pytest.raises(OllamaError, match="parts of files at one time only"):
        uvloop.run(asked({"manifest": told, "blob": blob}))


def test_a_manifest_without_end_is_given_up():
    async def endless(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b" " * 2**16)

    with pytest.raises(OllamaError, match="longer than any can be"):
        uvloop.run(asked({"manifest": endless}))


def test_of_several_weights_the_last_count_as_ollama_has_it(weights):
    async def told(_request):
        kind = "application/vnd.ollama.image.model"
        first = {"mediaType": kind, "digest": f"sha256:{'1' * 64}", "size": 64}
        return manifest(weights.stat().st_size, first)

    async def blob(request):
        if "1111" in request.path:
            return web.Response(status=206, body=b"GGUF\x03\0\0\0" + bytes(56))
        return web.FileResponse(weights)

    assert uvloop.run(asked({"manifest": told, "blob": blob})) == shape_of(head(BERT))
