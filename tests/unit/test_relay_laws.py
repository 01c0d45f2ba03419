"""Whatever instances, clients and the network do, each gets its own answer, and nothing stays held.

The relay as it is, on virtual time; a connection is a transport with an odd instance behind it.
"""

import asyncio
import random
import re
from contextlib import suppress

from fleet_fixtures import asks, fleet, resident, strategy
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import VirtualLoop, now, passes

from ollama_fleet.errors import Failure
from ollama_fleet.router.admission import Admission
from ollama_fleet.router.loading import Loading
from ollama_fleet.router.relay import Relay, Timeouts

REQUESTS = 25
OTHER = b"999"  # an id that nobody has
KINDS = (b"sized", b"chunked", b"open", b"bodiless", b"cut", b"more", b"no answer", b"busy")


class Instance:
    """The far end of a connection: answers each request in some way, in pieces, with its id."""

    def __init__(self, rng, protocol):
        self._rng = rng
        self._protocol = protocol
        self._asked = b""
        self._lost = False
        self._reading = True
        self._work = set()

    def write(self, data):
        self._asked += data
        whole = re.search(rb"X-Request-Id: (\d+)\r\n.*?(?:0\r\n\r\n|\})\Z", self._asked, re.DOTALL)
        if whole is not None:
            self._asked = b""
            work = asyncio.get_running_loop().create_task(self._answer(whole[1]))
            self._work.add(work)

    async def _answer(self, request_id):
        rng = self._rng
        kind = rng.choice(KINDS)
        pieces = answer(kind, request_id)
        if kind == b"cut":
            pieces = pieces[: rng.randrange(len(pieces))]
        if kind == b"no answer":
            return
        for piece in pieces:
            await passes(rng.choice((0, 0.1, 0.9)))
            while not self._reading:
                await passes(0.1)
            if self._lost:
                return
            self._protocol.data_received(piece)
        if kind in (b"cut", b"open"):
            self.abort()

    def abort(self):
        if not self._lost:
            self._lost = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def is_closing(self):
        return self._lost

    def pause_reading(self):
        self._reading = False

    def resume_reading(self):
        self._reading = True


def answer(kind, request_id):
    """The bytes of an answer, in the pieces in which they come."""
    record = b'{"id":"%b"}\n' % request_id
    status = {b"bodiless": b"204 No Content", b"busy": b"503 Busy"}.get(kind, b"200 OK")
    head = b"HTTP/1.1 %b\r\nContent-Type: application/x-ndjson\r\n" % status
    if kind == b"open":
        return [head + b"Connection: close\r\n\r\n", record, record]
    if kind in (b"sized", b"busy"):
        return [head, b"Content-Length: %d\r\n\r\n" % len(2 * record), record, record]
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    if kind == b"bodiless":
        return [head]
    chunk = b"%x\r\n%b\r\n" % (len(record), record)
    behind = b"".join(answer(b"sized", OTHER)) if kind == b"more" else b""
    return [head, chunk[:5], chunk[5:] + chunk, b"0\r\n\r\n" + behind]


class Client:
    """Takes what it is sent; now and then it does not keep up."""

    def __init__(self, rng):
        self.speaks_chunked = rng.random() < 0.7
        self.got, self.head = b"", None
        self.finished = self.broken = False
        self._rng = rng
        self._flow = None

    def start(self, head, ours):
        del ours
        self.head = head

    def write(self, data):
        self.got += data
        if self._flow is not None and self._rng.random() < 0.2:
            pause, resume = self._flow
            pause()
            asyncio.get_running_loop().call_later(self._rng.random(), resume)

    @property
    def straight(self):
        return self.write

    def finish(self):
        self.finished, self._flow = True, None

    def reset(self):
        self.broken, self._flow = True, None

    def flow(self, pause, resume):
        self._flow = pause, resume


class Loop(VirtualLoop):
    """Connects to nobody: each connection has an instance of its own at its end."""

    def __init__(self, rng):
        super().__init__()
        self._rng = rng

    async def create_connection(self, factory, *_at, **_more):
        await passes(self._rng.choice((0, 0.1)))
        if self._rng.random() < 0.05:
            raise ConnectionRefusedError
        protocol = factory()
        protocol.connection_made(Instance(self._rng, protocol))
        return None, protocol


class Pieces:
    """A large body."""

    replayable = True

    def __init__(self, size):
        self.size = size

    async def pieces(self):
        for piece in (b"{", b"}"):
            await passes(0.1)
            yield piece


def bodies_of(client):
    """What a client was told in the body of its answer, without its framing."""
    if client.head.chunked and client.speaks_chunked:
        return re.sub(rb"[0-9a-f]+\r\n(?:([^\r]+)\r\n|\r\n)", rb"\1", client.got)
    return client.got


async def visit(relay, number, rng):
    client = Client(rng)
    body = rng.choice((b"{}", Pieces(2), Pieces(None)))
    served = False
    with suppress(Failure):
        await relay.serve(asks(id=str(number), body=body, stream=rng.random() < 0.5), client)
        served = True
    assert set(re.findall(rb'"id":"(\d+)"', client.got)) <= {b"%d" % number}
    if served:
        record = b'{"id":"%d"}\n' % number
        assert client.finished
        assert bodies_of(client) == (b"" if client.head.status == 204 else 2 * record)
    return served


async def scenario(rng):
    state, ended = fleet("a", "b", slots=2), []
    for instance in state.instances.values():
        state.set_resident(instance, [resident("m")])
    door = Admission(
        state, strategy("adaptive"), limit=9, timeout_s=20.0, rng=random.Random(1), clock=now
    )
    relay = Relay(
        state,
        door,
        Loading(state, wall=now),
        Timeouts(connect_s=1.0, first_byte_s=3.0, idle_s=2.0, whole_s=3.0, change_s=3.0),
        on_end=ended.append,
        clock=now,
        wall=now,
    )
    visits = []
    for number in range(REQUESTS):
        visits.append(asyncio.create_task(visit(relay, number, rng)))
        await passes(rng.choice((0, 0, 0.3)))
        if rng.random() < 0.2:
            rng.choice(visits).cancel()
    results = await asyncio.gather(*visits, return_exceptions=True)
    assert {type(result) for result in results} <= {bool, asyncio.CancelledError}
    relay.close()
    return state, [journal.record() for journal in ended]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_each_gets_its_own_answer_and_nothing_stays_held(seed):
    rng = random.Random(seed)
    with asyncio.Runner(loop_factory=lambda: Loop(rng)) as runner:
        state, records = runner.run(scenario(rng))
    assert len({record.id for record in records}) == len(records), "each ends once"
    assert state.waiting == 0
    for instance in state.instances.values():
        runner = instance.runners["d-m"]
        assert (instance.in_flight, instance.bound, instance.labour.slots) == (0, 0, 0)
        assert (runner.in_flight, runner.waiting, runner.labour.slots) == (0, 0, 0)
        assert (runner.asked, runner.leases, instance.counters) == ({}, {}, set())
