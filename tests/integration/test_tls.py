"""The front with TLS: the same bytes, the same back-pressure, the same ends as without."""

import asyncio
import contextlib
import os
import socket
import ssl
import time

import pytest
import uvloop
from certificates import Authority, openssl
from router_fixtures import DONE, NDJSON, TOKEN, Backend, chunk, post, routed, stream

from ollama_fleet.api.connection import Answer, Bounds, Crowd, Front
from ollama_fleet.api.connection import secured as secured_listener
from ollama_fleet.errors import CertificateError, Exit, Limit
from ollama_fleet.fleet.certificate import Certificate, Pair
from ollama_fleet.state import Kind

HOST = b"Host: x\r\n"


def run(coroutine):
    return uvloop.run(coroutine)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def pair(authority, tmp_path):
    made = Pair(tmp_path / "fleet.pem", tmp_path / "fleet.key")
    authority.issue(made.cert, made.key)
    return made


@pytest.fixture
def secured(authority, pair):
    """A router behind TLS, and how to connect to it."""

    @contextlib.asynccontextmanager
    async def make(*backends, handshake_s=30.0, **options):
        certificate = Certificate(pair)
        front = {"tls": certificate.context, "bounds": Bounds(header_timeout_s=handshake_s)}
        async with routed(*backends, front_options=front, **options) as router:
            router.connect = lambda: connected(router.front.port, authority.file)
            router.certificate = certificate
            yield router

    return make


async def connected(port, authority):
    trusting = ssl.create_default_context(cafile=authority)
    return await asyncio.open_connection("127.0.0.1", port, ssl=trusting)


async def exchanged(router, raw):
    """All that comes back until the router closes."""
    reader, writer = await router.connect()
    try:
        async with asyncio.timeout(20):
            writer.write(raw)
            return await reader.read()
    finally:
        writer.close()


def test_a_stream_passes_byte_for_byte(secured):
    async def check():
        async with Backend(stream) as backend, secured(backend) as router:
            head, _, body = (await exchanged(router, post("/api/generate"))).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert body == chunk(TOKEN) + chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n"

    run(check())


def test_a_connection_is_kept_for_the_next_request(secured):
    async def check():
        async with Backend(stream) as backend, secured(backend) as router:
            reader, writer = await router.connect()
            kept = post("/api/generate").replace(b"Connection: close\r\n", b"")
            for _ in range(3):
                writer.write(kept)
                async with asyncio.timeout(20):
                    assert (await reader.readuntil(b"\r\n0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.close()

    run(check())


def test_a_client_that_does_not_read_stops_the_upstream_not_the_router(secured):
    """Nor is a byte lost when it reads at last."""
    piece, count = chunk(b"x" * 65536), 400

    async def much(backend, _request, writer):
        writer.write(NDJSON)
        for sent in range(count):
            backend.sent = sent
            writer.write(piece)
            await writer.drain()
        writer.write(chunk(DONE) + b"0\r\n\r\n")

    async def check():
        async with Backend(much) as backend, secured(backend) as router:
            reader, writer = await router.connect()
            writer.transport.pause_reading()
            writer.write(post("/api/generate"))
            before = -1
            async with asyncio.timeout(20):
                while before != (before := getattr(backend, "sent", -1)) or before < 0:
                    await asyncio.sleep(0.3)
            assert before < count - 1, "the instance is held up, too"
            (here,) = router.front._serving.connections
            assert here.transport.get_write_buffer_size() < 7 * 65536, "what TLS itself would hold"
            writer.transport.resume_reading()
            async with asyncio.timeout(30):
                answer = await reader.read()
            assert answer.partition(b"\r\n\r\n")[2] == piece * count + chunk(DONE) + b"0\r\n\r\n"
            writer.close()

    run(check())


@pytest.mark.parametrize("politely", [True, False])
def test_a_client_that_leaves_closes_the_upstream(secured, politely):
    async def slow(_backend, _request, writer):
        writer.write(NDJSON + chunk(TOKEN))
        await asyncio.Event().wait()

    async def check():
        async with Backend(slow) as backend, secured(backend) as router:
            reader, writer = await router.connect()
            writer.write(post("/api/generate"))
            async with asyncio.timeout(20):
                await reader.readuntil(TOKEN)
                writer.close() if politely else writer.transport.abort()
                await backend.closed.wait()
                while router.state.instances["i0"].in_flight:
                    await asyncio.sleep(0.01)

    run(check())


def test_an_answer_that_breaks_off_is_never_whole(secured):
    """The end that TLS has of its own does not come, nor is there as much as was announced."""

    async def cut(_backend, _request, writer):
        kind = b"Content-Type: application/json\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + kind + b"Content-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.transport.abort()

    async def check():
        async with Backend(cut) as backend, secured(backend) as router:
            asked = post("/api/generate", b'{"model":"m","stream":false}')
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                head, _, body = (await exchanged(router, asked)).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 5") or body in {b"", b"{"}

    run(check())


def test_a_refusal_arrives_though_its_body_was_not_read(secured):
    async def check():
        async with Backend(stream) as backend, secured(backend, body_bytes=1000) as router:
            head = b"POST /api/chat HTTP/1.1\r\nConnection: close\r\nContent-Length: 500000\r\n"
            head += HOST + b"\r\n"
            assert (await exchanged(router, head + b"x" * 500_000)).startswith(b"HTTP/1.1 413 ")
            twice = b"POST /api/chat HTTP/1.1\r\n" + HOST * 2 + b"\r\n" + post("/api/chat")
            assert (await exchanged(router, twice)).startswith(b"HTTP/1.1 400 ")
            assert not backend.requests

    run(check())


def test_plain_http_is_told_that_this_is_https(secured):
    async def check():
        async with Backend(stream) as backend, secured(backend) as router:
            answer = await router.exchange(post("/api/chat"))
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"HTTP request to an HTTPS server" in answer
            assert not backend.requests

    run(check())


async def is_answered(router):
    with contextlib.suppress(OSError):
        return (await exchanged(router, post("/api/generate"))).startswith(b"HTTP/1.1 200 ")
    return False


@pytest.mark.parametrize("sent", [b"", b"\x16\x03", b"\x16\x03\x01\x00\x05aaaaaaaa"])
def test_who_does_not_shake_hands_is_closed_and_nobody_waits_for_it(secured, sent, caplog):
    async def check():
        loop = asyncio.get_running_loop()
        async with Backend(stream) as backend, secured(backend, handshake_s=2.0) as router:
            with socket.create_connection(("127.0.0.1", router.front.port)) as connection:
                connection.setblocking(False)
                connection.send(sent)
                async with asyncio.timeout(20):
                    while not await is_answered(router):
                        pass  # a machine that stood still for so long closes on others, too
                    with contextlib.suppress(ConnectionError):
                        while await loop.sock_recv(connection, 1000):
                            pass

    run(check())
    assert not caplog.records, "anyone can do that, as often as he likes"


def test_handshakes_beyond_their_share_are_cut_off_and_counted(authority, pair):
    """A quarter of the connections may be in one; who has come through takes no share of it."""

    async def answer(_request):
        return Answer(200, b"{}")

    async def check():
        told, certificate = [], Certificate(pair)
        front = Front(
            answer,
            "127.0.0.1",
            0,
            drain_s=0.0,
            crowd=Crowd(8),
            refused=told.append,
            tls=certificate.context,
        )
        async with front, asyncio.timeout(20):
            for _ in range(3):
                reader, writer = await connected(front.port, authority.file)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
                writer.close()
            silent = [await asyncio.open_connection("127.0.0.1", front.port) for _ in range(2)]
            late, writer = await asyncio.open_connection("127.0.0.1", front.port)
            assert await late.read() == b""
            assert told == [Limit.CONNECTIONS]
            for _, each in (*silent, (late, writer)):
                each.close()

    run(check())


def taken_slowly(port, authority, raw, pause_s):
    """All that comes to a client who takes a record now and then, and how it ended."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        trusting = ssl.create_default_context(cafile=authority)
        with trusting.wrap_socket(connection, server_hostname="localhost") as secure:
            secure.sendall(raw)
            came = bytearray()
            while piece := secure.recv(16384):
                came += piece
                time.sleep(pause_s)
            return bytes(came)


def test_who_takes_the_last_answer_slowly_gets_all_of_it(authority, pair, monkeypatch):
    """The time for a goodbye begins where there is little left to take.

    It is shorter than it takes to take all of it, but not than a machine may stand still: then it
    is tried again.
    """
    whole = b"x" * 3_000_000
    monkeypatch.setattr(secured_listener, "GOODBYE_S", 2.0)

    async def answer(_request):
        return Answer(200, whole)

    async def check():
        context = Certificate(pair).context
        async with Front(answer, "127.0.0.1", 0, drain_s=1.0, tls=context) as front:
            asked = b"GET / HTTP/1.0\r\n" + HOST + b"\r\n"
            with contextlib.suppress(OSError):
                return await asyncio.to_thread(
                    taken_slowly, front.port, authority.file, asked, 0.016
                )
            return b""

    assert any(run(check()).partition(b"\r\n\r\n")[2] == whole for _ in range(3))


def hello(version):
    """The first words of a client that speaks no later version of TLS than that."""
    ciphers = bytes.fromhex("c02bc009c00ac013c014002f0035")
    groups, points = bytes.fromhex("000a00040002 0017"), bytes.fromhex("000b00020100")
    extensions = groups + points + bytes.fromhex("000d000400020403")
    body = version + bytes(32) + b"\0" + len(ciphers).to_bytes(2, "big") + ciphers + b"\x01\0"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


@pytest.mark.parametrize(
    ("version", "told"),
    [(b"\x03\x00", b""), (b"\x03\x01", b""), (b"\x03\x02", b""), (b"\x03\x03", b"\x16")],
)
def test_what_is_older_than_tls_1_2_is_not_spoken(secured, version, told):
    """Who is answered differs in nothing else."""

    async def check():
        async with Backend(stream) as backend, secured(backend) as router:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.front.port)
            writer.write(hello(version))
            async with asyncio.timeout(20):
                assert await reader.read(1) == told
            writer.close()

    run(check())


async def shown(router):
    """The name in the certificate that who connects now is shown."""
    _, writer = await router.connect()
    subject = dict(field for (field,) in writer.get_extra_info("peercert")["subject"])
    writer.close()
    return subject["commonName"]


def told_of(notices, kind):
    return [notice.text for notice in notices if notice.kind is kind]


async def until_told(notices, kind):
    async with asyncio.timeout(20):
        while kind not in [notice.kind for notice in notices]:
            await asyncio.sleep(0.01)


def test_a_renewed_certificate_is_shown_to_who_connects_next(secured, authority, pair):
    """Connections from before go on; a pair that is broken changes nothing and is told of."""

    async def check():
        notices = []
        async with (
            Backend(stream) as backend,
            secured(backend) as router,
            router.certificate.watched(notices.append, look_s=0.02),
        ):
            reader, writer = await router.connect()
            assert await shown(router) == "localhost"
            whole = pair.key.read_bytes()
            pair.key.write_bytes(whole[: len(whole) // 2])
            await until_told(notices, Kind.CERTIFICATE_REFUSED)
            assert await shown(router) == "localhost"
            authority.issue(pair.cert, pair.key, name="renewed")
            await until_told(notices, Kind.CERTIFICATE_RENEWED)
            assert await shown(router) == "renewed"
            writer.write(post("/api/generate"))
            async with asyncio.timeout(20):
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()

    run(check())


def swapped(authority, folder, way):
    """A pair, and what renews it in the way of certbot, or of Kubernetes."""
    first, second = folder / "1", folder / "2"
    for number, at in enumerate((first, second)):
        at.mkdir()
        authority.issue(at / "fleet.pem", at / "fleet.key", name=f"number {number}")
    live = folder / "live"
    names = ("fleet.pem", "fleet.key")
    if way == "one link for both":
        live.mkdir()
        (live / "..data").symlink_to(first)
        for name in names:
            (live / name).symlink_to(f"..data/{name}")

        def renew():
            (live / "..new").symlink_to(second)
            (live / "..new").rename(live / "..data")
    else:
        live.mkdir()
        for name in names:
            (live / name).symlink_to(first / name)

        def renew():
            for name in names:
                (live / name).unlink()
                (live / name).symlink_to(second / name)

    return Pair(live / "fleet.pem", live / "fleet.key"), renew


DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (-1.0, "is not valid before"),
        (0.5, ""),
        (1.5, "expires on"),
        (3.0, "has expired on"),
    ],
)
def test_a_certificate_that_clients_will_not_like_is_told_of_at_once_and_used(pair, days, told):
    """It is of two days; of its last third its owner hears."""

    async def check():
        notices = []
        certificate = Certificate(pair, wall=lambda: time.time() + days * DAY_S)
        async with certificate.watched(notices.append):
            assert isinstance(certificate.context(), ssl.SSLContext)
        assert certificate.left_s() == pytest.approx((2 - days) * DAY_S, abs=600)
        assert [notice.kind for notice in notices] == [Kind.CERTIFICATE_EXPIRES] * bool(told)
        assert all(f"the certificate in {pair.cert} {told}" in each.text for each in notices)

    run(check())


def test_each_change_of_how_it_stands_is_told_once_and_a_renewal_begins_anew(authority, pair):
    async def check():
        notices, days = [], [0.5]
        certificate = Certificate(pair, wall=lambda: time.time() + days[0] * DAY_S)
        async with certificate.watched(notices.append, look_s=0.01):
            for days[0], count in ((1.5, 1), (3.0, 2)):
                async with asyncio.timeout(20):
                    while len(notices) < count:
                        await asyncio.sleep(0.01)
            authority.issue(pair.cert, pair.key, name="renewed, but by a clock that is wrong")
            async with asyncio.timeout(20):  # a pair of which only half is new is told of, too
                while len(told := told_of(notices, Kind.CERTIFICATE_EXPIRES)) < 3:
                    await asyncio.sleep(0.01)
        assert ["expires" in told[0], "expired" in told[1], "expired" in told[2]] == [True] * 3
        assert len(told) == 3

    run(check())


@pytest.mark.parametrize("way", ["one link for both", "a link for each"])
def test_links_that_lead_elsewhere_are_a_renewal(authority, tmp_path, way):
    pair, renew = swapped(authority, tmp_path, way)

    async def check():
        notices, certificate = [], Certificate(pair)
        before = certificate.context()
        async with certificate.watched(notices.append, look_s=0.02):
            renew()
            await until_told(notices, Kind.CERTIFICATE_RENEWED)
        assert certificate.context() is not before

    run(check())


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_a_pair_that_could_not_be_read_is_read_when_it_may_be(authority, pair):
    """Who may read a file is no part of it, and changes no time of its contents."""

    async def check():
        notices, certificate = [], Certificate(pair)
        async with certificate.watched(notices.append, look_s=0.02):
            authority.issue(pair.cert, pair.key, name="renewed")
            pair.key.chmod(0)
            await until_told(notices, Kind.CERTIFICATE_REFUSED)
            pair.key.chmod(0o600)
            await until_told(notices, Kind.CERTIFICATE_RENEWED)

    run(check())


def test_a_change_of_who_may_read_is_one(pair):
    before = pair.stamp()
    pair.key.chmod(0o640)
    assert pair.stamp() != before


def damage(authority, pair, how):
    if how == "missing":
        pair.cert.unlink()
    elif how == "empty":
        pair.key.write_text("")
    elif how == "swapped":
        cert, key = pair.cert.read_bytes(), pair.key.read_bytes()
        pair.cert.write_bytes(key)
        pair.key.write_bytes(cert)
    elif how == "another's key":
        authority.issue(pair.cert.with_name("other.pem"), pair.key)
    elif how == "cut":
        pair.cert.write_bytes(pair.cert.read_bytes()[:200])
    elif how == "a passphrase":
        sealed = pair.key.with_name("sealed.key")
        openssl("pkey", "-in", pair.key, "-aes256", "-passout", "pass:secret", "-out", sealed)
        sealed.replace(pair.key)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "fleet.pem cannot be read: No such file or directory"),
        ("empty", "fleet.key holds no private key"),
        ("swapped", "fleet.pem holds no certificate"),
        ("another's key", "fleet.key does not belong to the certificate"),
        ("cut", "cannot be used: "),
        ("a passphrase", "fleet.key is protected by a passphrase"),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused_in_words(authority, pair, how, words):
    damage(authority, pair, how)
    with pytest.raises(CertificateError) as refused:
        Certificate(pair)
    assert words in refused.value.reason
    assert refused.value.hint
    assert refused.value.exit_code == Exit.CONFIG
