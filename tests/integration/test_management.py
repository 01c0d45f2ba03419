"""Changes of the store and the doors, over real sockets: scripted instances, a client's bytes."""

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import uvloop
from router_fixtures import NDJSON, Backend, answer, chunk, post, routed, stream

from ollama_fleet.errors import OllamaError
from ollama_fleet.names import canonical
from ollama_fleet.state import Phase

COPY = b'{"source":"m","destination":"n"}'
DELETE = post("/api/delete").replace(b"POST", b"DELETE")
SUCCESS = b'{"status":"success"}\n'
PROGRESS = b'{"status":"parsing GGUF"}\n'
DIGEST = "sha256:" + "0123abcd" * 8


def run(coroutine):
    async def bounded():
        async with asyncio.timeout(30):
            await coroutine

    uvloop.run(bounded())


def status(raw):
    return int(raw.split()[1])


def headers(raw):
    lines = raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return [tuple(line.split(": ", 1)) for line in lines]


def asked(backend):
    return [head.split(b"\r\n")[0].decode() for head, _ in backend.requests]


class Refresh:
    """Re-reads stores when a test lets it."""

    def __init__(self):
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.stores = []

    async def __call__(self, store):
        self.stores.append(store)
        self.begun.set()
        await self.go.wait()


@asynccontextmanager
async def connected(router, raw):
    """A client that has sent its request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", router.front.port)
    writer.write(raw)
    try:
        yield reader
    finally:
        writer.close()


async def nothing_comes(reader):
    """Not one byte for as long as it takes the loop to go round many times."""
    for _ in range(50):
        await asyncio.sleep(0)
    assert not reader._buffer


# -- seen before it is told ----------------------------------------------------------------------


@pytest.mark.parametrize("raw", [post("/api/copy", COPY), DELETE], ids=["copy", "delete"])
def test_a_change_can_be_seen_before_its_client_hears_of_it(raw):
    """A client that copies and then lists sees the copy, however fast it is."""

    async def check():
        refresh = Refresh()
        async with (
            Backend(answer(200, b"")) as backend,
            routed(backend, refresh=refresh) as router,
            connected(router, raw) as reader,
        ):
            await refresh.begun.wait()
            await nothing_comes(reader)
            refresh.go.set()
            raw_answer = await reader.read()
            assert status(raw_answer) == 200
            assert refresh.stores == ["/store"]
            assert ("X-Fleet-Instance", "i0") in headers(raw_answer)

    run(check())


def test_the_progress_of_a_create_is_told_at_once_and_its_success_when_it_can_be_seen():
    async def check():
        refresh, heard = Refresh(), asyncio.Event()

        async def create(_backend, _request, writer):
            writer.write(NDJSON + chunk(PROGRESS))
            await heard.wait()
            writer.write(chunk(SUCCESS) + b"0\r\n\r\n")

        async with (
            Backend(create) as backend,
            routed(backend, refresh=refresh) as router,
            connected(router, post("/api/create", b'{"model":"n","from":"m"}')) as reader,
        ):
            await reader.readuntil(PROGRESS + b"\r\n")
            heard.set()
            await refresh.begun.wait()
            await nothing_comes(reader)
            refresh.go.set()
            assert await reader.read() == chunk(SUCCESS) + b"0\r\n\r\n"

    run(check())


def test_a_refused_change_is_told_in_the_instances_words():
    async def check():
        body = b'{"error":"model \\"n\\" not found"}'
        async with Backend(answer(404, body)) as backend, routed(backend) as router:
            raw = await router.exchange(post("/api/copy", b'{"source":"n","destination":"o"}'))
            assert status(raw) == 404
            assert raw.endswith(body)

    run(check())


# -- one instance, once --------------------------------------------------------------------------

CHANGES = {
    "copy": post("/api/copy", COPY),
    "delete": DELETE,
    "create": post("/api/create", b'{"model":"n","from":"m"}'),
    "blob": post(f"/api/blobs/{DIGEST}", b"bytes"),
}


@pytest.mark.parametrize("raw", CHANGES.values(), ids=CHANGES)
def test_a_change_goes_to_the_designated_instance_and_is_never_sent_twice(raw):
    """Even where it failed in a way that any other request would be moved for."""

    async def check():
        async with (
            Backend(answer(500, b'{"error":"disk full"}')) as first,
            Backend(answer(200, b"")) as second,
            routed(first, second) as router,
        ):
            for _ in range(3):
                raw_answer = await router.exchange(raw)
                assert status(raw_answer) == 500
                assert raw_answer.endswith(b'{"error":"disk full"}')
            assert len(first.requests) == 3
            assert second.requests == []

    run(check())


@pytest.mark.parametrize("raw", CHANGES.values(), ids=CHANGES)
def test_another_takes_the_place_of_a_designated_instance_that_is_down(raw):
    async def check():
        async with (
            Backend(answer(200, b"")) as first,
            Backend(answer(200, b"")) as second,
            routed(first, second) as router,
        ):
            router.state.set_phase(router.state.instances["i0"], Phase.BACKOFF, 0.0)
            assert status(await router.exchange(raw)) == 200
            assert first.requests == []
            assert len(second.requests) == 1

    run(check())


def test_without_an_instance_that_is_up_a_change_waits_and_is_then_refused_as_busy():
    async def check():
        async with Backend(answer(200, b"")) as backend, routed(backend, queue_s=0.05) as router:
            router.state.set_phase(router.state.instances["i0"], Phase.STARTING, 0.0)
            raw = await router.exchange(post("/api/copy", COPY))
            assert status(raw) == 503
            assert ("Retry-After", "1") in headers(raw)

    run(check())


def test_a_delete_waits_for_a_create_and_a_copy_does_not():
    async def check():
        go = asyncio.Event()

        async def script(_backend, request, writer):
            if request[0].startswith(b"POST /api/create"):
                writer.write(NDJSON + chunk(PROGRESS))
                await go.wait()
                writer.write(chunk(SUCCESS) + b"0\r\n\r\n")
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

        async with (
            Backend(script) as backend,
            routed(backend) as router,
            connected(router, CHANGES["create"]) as making,
        ):
            await making.readuntil(PROGRESS)
            async with connected(router, DELETE) as deleting:
                assert status(await router.exchange(CHANGES["copy"])) == 200
                await nothing_comes(deleting)
                assert asked(backend) == ["POST /api/create HTTP/1.1", "POST /api/copy HTTP/1.1"]
                go.set()
                assert status(await deleting.read()) == 200
            assert asked(backend)[2:] == ["DELETE /api/delete HTTP/1.1"]

    run(check())


# -- several stores ------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second", "told"), [(200, 404, 404), (500, 200, 500)])
def test_a_delete_reaches_every_store_that_has_the_model_and_the_worst_is_told(first, second, told):
    async def check():
        async with (
            Backend(answer(first, b"1")) as one,
            Backend(answer(second, b"2")) as two,
            Backend(answer(200, b"3")) as three,
            routed(one, two, three, stores=("/a", "/b", "/c")) as router,
        ):
            router.state.set_stored(router.state.instances["i2"], [])
            assert status(await router.exchange(DELETE)) == told
            assert [len(b.requests) for b in (one, two, three)] == [1, 1, 0]

    run(check())


def test_a_store_that_nobody_serves_is_the_worst_outcome():
    async def check():
        async with (
            Backend(answer(200, b"")) as one,
            Backend(answer(200, b"")) as two,
            routed(one, two, stores=("/a", "/b"), queue_s=0.05) as router,
        ):
            router.state.set_phase(router.state.instances["i0"], Phase.STARTING, 0.0)
            assert status(await router.exchange(DELETE)) == 503
            assert len(two.requests) == 1, "the other store is changed all the same"

    run(check())


def test_someone_elses_server_is_not_changed():
    async def check():
        async with (
            Backend(answer(200, b"")) as theirs,
            Backend(answer(200, b"")) as ours,
            routed(theirs, ours, stores=("http://x", "/b"), external=("i0",)) as router,
        ):
            for raw in CHANGES.values():
                assert status(await router.exchange(raw)) == 200
            assert theirs.requests == []
            assert len(ours.requests) == len(CHANGES)

    run(check())


# -- creates and the other stores ----------------------------------------------------------------

CREATE = b'{"model":"n","files":{}}'
WHOLE = b'{"model":"n","files":{},"stream":false}'


class Sharing:
    """Stands where the library would: notes what is to be brought where; may fail."""

    def __init__(self, error=""):
        self.asked, self.error = [], error

    async def __call__(self, name, source, targets=()):
        self.asked.append((name, source, tuple(targets)))
        yield {"status": "copying to i1", "target": "i1"}
        yield {"status": "copying to i1", "target": "i1", "digest": "d", "total": 9}
        if self.error:
            raise OllamaError(self.error)


async def creates(_backend, request, writer):
    """As Ollama answers a create."""
    if b'"stream":false' in request[1]:
        await answer(200, SUCCESS.strip())(_backend, request, writer)
    else:
        writer.write(NDJSON + chunk(PROGRESS) + chunk(SUCCESS) + b"0\r\n\r\n")


@pytest.mark.parametrize("body", [CREATE, WHOLE], ids=["streamed", "whole"])
def test_what_was_created_is_brought_to_the_other_stores_before_its_success_is_told(body):
    async def check():
        share = Sharing()
        async with (
            Backend(creates) as one,
            Backend(creates) as two,
            routed(one, two, stores=("/a", "/b"), share=share) as router,
        ):
            raw = await router.exchange(post("/api/create", body))
            assert share.asked == [("n", "/a", ())]
            assert two.requests == []
            told = raw.partition(b"\r\n\r\n")[2]
            copying = b'{"status":"copying to i1"}\n'
            if body is WHOLE:
                assert (status(raw), told) == (200, SUCCESS.strip())
            else:
                end = chunk(SUCCESS) + b"0\r\n\r\n"
                assert told == chunk(PROGRESS) + chunk(copying) + end

    run(check())


@pytest.mark.parametrize("body", [CREATE, WHOLE], ids=["streamed", "whole"])
def test_a_store_that_has_not_got_what_was_created_is_an_error_instead_of_the_success(body):
    async def check():
        share = Sharing("i1: the disk is full")
        async with (
            Backend(creates) as backend,
            routed(backend, share=share) as router,
        ):
            raw = await router.exchange(post("/api/create", body))
            assert SUCCESS.strip() not in raw
            if body is WHOLE:
                assert (status(raw), raw.endswith(b'{"error":"i1: the disk is full"}')) == (
                    500,
                    True,
                )
            else:
                error = chunk(b'{"error":"i1: the disk is full"}\n')
                assert raw.endswith(error + b"0\r\n\r\n")

    run(check())


def test_of_a_create_that_has_failed_nothing_is_brought_anywhere():
    async def check():
        async def fails(_backend, _request, writer):
            writer.write(NDJSON + chunk(PROGRESS) + chunk(b'{"error":"no"}\n') + b"0\r\n\r\n")

        for script in (answer(400, b'{"error":"no"}'), fails):
            share = Sharing()
            async with Backend(script) as backend, routed(backend, share=share) as router:
                raw = await router.exchange(post("/api/create", CREATE))
                assert b'{"error":"no"}' in raw
                assert share.asked == []

    run(check())


def test_the_model_that_another_is_made_of_is_brought_where_that_is_made():
    """Else the instance would download what the fleet has, or not find it."""

    async def check():
        share = Sharing()
        async with (
            Backend(creates) as one,
            Backend(creates) as two,
            routed(one, two, stores=("/a", "/b"), share=share) as router,
        ):
            router.state.set_stored(router.state.instances["i0"], [])
            raw = await router.exchange(post("/api/create", b'{"model":"n","from":"m"}'))
            assert SUCCESS in raw
            assert share.asked == [("m", "/b", ("/a",)), ("n", "/a", ())]
            share.error = "i0: the disk is full"
            raw = await router.exchange(post("/api/create", b'{"model":"n","from":"m"}'))
            assert (status(raw), raw.endswith(b'{"error":"i0: the disk is full"}')) == (500, True)
            assert len(one.requests) == 1

    run(check())


def test_a_push_reads_from_an_instance_that_has_the_model():
    async def check():
        async with (
            Backend(answer(200, b"")) as without,
            Backend(stream) as having,
            routed(without, having, stores=("/a", "/b")) as router,
        ):
            router.state.set_stored(router.state.instances["i0"], [])
            for _ in range(3):
                assert status(await router.exchange(post("/api/push"))) == 200
            assert (len(without.requests), len(having.requests)) == (0, 3)

    run(check())


# -- blobs ---------------------------------------------------------------------------------------


def test_a_digest_that_is_none_never_reaches_an_instance():
    async def check():
        async with Backend(answer(200, b"")) as backend, routed(backend) as router:
            for name in ("sha256:abc", "%2e%2e", DIGEST.upper(), f"{DIGEST}%0a", f"{DIGEST}x"):
                raw = await router.exchange(post(f"/api/blobs/{name}", b"bytes"))
                assert status(raw) == 400
                assert raw.endswith(b'{"error":"invalid digest format"}')
            assert backend.requests == []

    run(check())


def test_a_blob_passes_while_it_is_still_being_sent():
    """It is never held: the instance has its beginning before the client has sent its end."""

    async def check():
        begun = asyncio.Event()

        async def serve(reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(f"POST /api/blobs/{DIGEST} HTTP/1.1\r\n".encode())
            assert await reader.readexactly(5) == b"first"
            begun.set()
            assert await reader.readexactly(6) == b"second"
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        backend = await asyncio.start_server(serve, "127.0.0.1", 0)
        listening = SimpleNamespace(port=backend.sockets[0].getsockname()[1])
        async with backend, routed(listening) as router:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.front.port)
            raw = post(f"/api/blobs/{DIGEST.replace(':', '%3A')}", b"firstsecond")
            writer.write(raw.removesuffix(b"second"))
            await begun.wait()
            writer.write(b"second")
            assert status(await reader.read()) == 201
            writer.close()

    run(check())


# -- who calls -----------------------------------------------------------------------------------


def test_every_answer_carries_its_requests_id():
    """The client's own where it is sane, in whatever way the answer comes about."""

    async def check():
        mine = b"X-Request-Id: mine-1\r\n"
        cases = {
            200: post("/api/generate", extra=mine),
            307: post("//api/generate", extra=mine),
            400: post("/api/blobs/x", extra=mine),
            403: post("/api/generate", extra=mine + b"Origin: https://evil.example\r\n"),
            404: post("/nothing", extra=mine),
            405: post("/api/tags", extra=mine),
            413: post("/api/generate", b"x" * 200, extra=mine),
        }
        async with Backend(stream) as backend, routed(backend, body_bytes=100) as router:
            for expected, raw in cases.items():
                raw_answer = await router.exchange(raw)
                assert status(raw_answer) == expected
                found = [value for name, value in headers(raw_answer) if name == "X-Request-Id"]
                assert found == ["mine-1"], expected
            ((head, _),) = backend.requests
            assert head.count(b"X-Request-Id: mine-1\r\n") == 1

    run(check())


def test_an_id_that_is_not_sane_is_replaced_on_both_sides():
    async def check():
        async with Backend(stream) as backend, routed(backend) as router:
            raw = await router.exchange(post("/api/generate", extra=b"X-Request-Id: a b\r\n"))
            made = dict(headers(raw))["X-Request-Id"]
            assert len(made) == 24
            ((head, _),) = backend.requests
            assert f"X-Request-Id: {made}\r\n".encode() in head
            assert b"a b" not in head
            assert router.records[0].id == made

    run(check())


def test_an_anthropic_error_of_ours_names_the_request():
    async def check():
        async with Backend(stream) as backend, routed(backend, body_bytes=10) as router:
            for given, shape in ((b"", "req_{}"), (b"X-Request-Id: req_1\r\n", "{}")):
                raw = await router.exchange(post("/v1/messages", b"x" * 20, extra=given))
                body = json.loads(raw.partition(b"\r\n\r\n")[2])
                assert body["request_id"] == shape.format(dict(headers(raw))["X-Request-Id"])
            assert backend.requests == []

    run(check())


def test_what_fails_in_us_is_told_as_gin_tells_a_panic_and_logged_under_its_id(caplog):
    async def check():
        def pull(_name, _insecure):
            raise RuntimeError("a bug")

        async with Backend(stream) as backend, routed(backend, pull=pull) as router:
            raw = await router.exchange(post("/api/pull", extra=b"X-Request-Id: mine\r\n"))
            assert status(raw) == 500
            assert raw.endswith(b"\r\n\r\n")

    with caplog.at_level(logging.ERROR):
        run(check())
    (record,) = (r for r in caplog.records if r.message == "a request failed")
    assert (record.id, record.route) == ("mine", "/api/pull")


def test_a_granted_origin_is_told_so_on_relayed_answers_and_is_not_passed_on():
    async def check():
        page = b"Origin: http://localhost:3000\r\n"
        async with Backend(stream) as backend, routed(backend) as router:
            for path in ("/api/generate", "/nothing"):
                raw = await router.exchange(post(path, extra=page))
                assert b"Access-Control-Allow-Origin: http://localhost:3000\r\n" in raw
                assert b"Vary: Origin\r\n" in raw
            ((head, _),) = backend.requests
            assert b"Origin" not in head

    run(check())


# -- names ---------------------------------------------------------------------------------------


def test_a_cloud_model_occupies_no_slot_and_needs_no_store():
    async def check():
        go = asyncio.Event()

        async def script(backend, request, writer):
            if b'"m:cloud"' not in request[1]:
                await go.wait()
            await stream(backend, request, writer)

        async with Backend(script) as backend, routed(backend, slots=1) as router:
            local = asyncio.create_task(router.exchange(post("/api/chat")))
            await backend.arrived.wait()
            raw = await router.exchange(post("/api/chat", b'{"model":"m:cloud"}'))
            assert status(raw) == 200
            assert not local.done()
            go.set()
            assert status(await local) == 200

    run(check())


def test_a_local_suffix_is_part_of_no_name():
    async def check():
        async with Backend(stream) as one, Backend(stream) as two, routed(one, two) as router:
            router.state.set_stored(router.state.instances["i0"], [])
            for _ in range(3):
                await router.exchange(post("/api/chat", b'{"model":"m:local"}'))
            assert one.requests == []
            assert {record.key for record in router.records} == {canonical("m")}

    run(check())


@pytest.mark.parametrize(
    "path", ["/api/chat", "/api/show", "/api/push", "/v1/chat/completions", "/v1/messages"]
)
def test_a_name_that_is_there_for_a_pull_of_somebody_else_is_nobodys_to_ask_for(path):
    """Were it passed on, the instance that is just pulling it would answer."""

    async def check():
        name = f"10.0.0.1:4000/{'ab' * 32}/m:latest"
        async with Backend(stream) as backend, routed(backend) as router:
            raw = await router.exchange(post(path, json.dumps({"model": name}).encode()))
            assert status(raw) == 404
            assert f"model '{name}' not found".encode() in raw
            assert backend.requests == []

    run(check())


# -- pulls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b'{"model":"m"}', b'{"MODEL":"m"} and more', b'{"name":"m","model":null}'],
    ids=["plain", "odd", "by its old name"],
)
def test_every_spelling_of_a_pull_joins_the_one_download(body):
    async def check():
        pulls = []

        async def pull(name, insecure):
            pulls.append((name, insecure))
            yield {"status": "pulling manifest"}
            yield {"status": "success"}

        async with Backend(stream) as backend, routed(backend, pull=pull) as router:
            raw = await router.exchange(post("/api/pull", body))
            assert ("Content-Type", "application/x-ndjson") in headers(raw)
            assert SUCCESS in raw
            assert pulls == [("m", False)]
            assert backend.requests == []

    run(check())


def test_a_pull_that_fails_in_us_breaks_off_so_that_no_part_passes_for_the_whole():
    async def check():
        async def pull(_name, _insecure):
            yield {"status": "pulling manifest"}
            raise RuntimeError("a bug")

        async with Backend(stream) as backend, routed(backend, pull=pull) as router:
            raw = await router.exchange(post("/api/pull"))
            assert raw.endswith(chunk(b'{"status":"pulling manifest"}\n'))
            assert raw.count(b"HTTP/1.1") == 1

    run(check())


def test_what_is_no_pull_is_refused_by_an_instance_in_its_own_words():
    async def check():
        body = b'{"error":"invalid model name"}'
        async with (
            Backend(answer(400, body)) as backend,
            Backend(answer(200, b"")) as other,
            routed(backend, other) as router,
        ):
            for wrong in (b"{", b'{"model":5}', b'{"model":"a b"}'):
                raw = await router.exchange(post("/api/pull", wrong))
                assert (status(raw), raw.endswith(body)) == (400, True)
            assert [sent for _, sent in backend.requests] == [
                b"{",
                b'{"model":5}',
                b'{"model":"a b"}',
            ]
            assert other.requests == []

    run(check())
