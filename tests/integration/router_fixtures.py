"""A real front over scripted backends: real sockets on both sides, bytes as a test writes them."""

import asyncio
import json
import random
import socket
import struct
import time
from contextlib import asynccontextmanager
from types import MappingProxyType, SimpleNamespace

from ollama_fleet.api.app import Api
from ollama_fleet.api.auth import Gate
from ollama_fleet.api.bodies import Limits
from ollama_fleet.api.connection import Bounds, Front
from ollama_fleet.api.guests import Door, Origins
from ollama_fleet.api.parts import Parts
from ollama_fleet.api.visit import RequestIds
from ollama_fleet.control.library.allowed import anything
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.estimate import Estimates
from ollama_fleet.names import canonical
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.router.admission import Admission
from ollama_fleet.router.loading import Loading
from ollama_fleet.router.relay import Relay, Timeouts
from ollama_fleet.router.strategies import STRATEGIES, Tools
from ollama_fleet.state import Completed, Phase, State, StoredModel

PATIENT_S = 20.0


class Backend:
    """A server that answers each request by a script: `script(self, request, writer)`."""

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.connections = 0
        self.closed = asyncio.Event()
        self.arrived = asyncio.Event()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length")
                    ),
                    0,
                )
                body = await reader.readexactly(length)
                self.requests.append((head, body))
                self.arrived.set()
                watch = asyncio.create_task(self._watch(reader))
                await self.script(self, (head, body), writer)
                watch.cancel()
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            writer.close()

    async def _watch(self, reader):
        """Notice a router that closes while the script is running."""
        while not reader.at_eof():
            if reader._eof or reader.exception():
                break
            await asyncio.sleep(0.005)
        self.closed.set()


def reset(writer):
    """Break a connection off with a TCP reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


NDJSON = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def line(**fields):
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


DONE = line(model="m", response="", done=True, prompt_eval_count=4, eval_count=2)
TOKEN = line(model="m", response=" a", done=False)


async def stream(_backend, _request, writer):
    writer.write(NDJSON + chunk(TOKEN))
    writer.write(chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n")
    await writer.drain()


async def begins(backend, _request, writer):
    """One token, and nothing more until the router has left."""
    writer.write(NDJSON + chunk(TOKEN))
    await writer.drain()
    await backend.closed.wait()


async def silence(backend, _request, _writer):
    """Not a byte until then."""
    await backend.closed.wait()


def answer(status, body, kind=b"application/json"):
    async def script(_backend, _request, writer):
        writer.write(
            b"HTTP/1.1 %d Status\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (status, kind, len(body), body)
        )
        await writer.drain()

    return script


class Router:
    """The front, its state and what it was told."""

    def __init__(self, state, front):
        self.state = state
        self.front = front
        self.outcomes = []
        state.on_outcome.append(self._note)

    def _note(self, lease, outcome):
        self.outcomes.append((lease.instance.name, type(outcome).__name__))
        if isinstance(outcome, Completed):
            self.last = outcome

    async def exchange(self, raw):
        """Send raw bytes on a fresh connection, read to the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.front.port)
        writer.write(raw)
        try:
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()


def post(path, body=b'{"model":"m"}', *, extra=b"", version=b"1.1"):
    return b"POST %s HTTP/%s\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s" % (
        path.encode(),
        version,
        len(body),
        extra,
        body,
    )


async def nothing(*_arguments):
    """What is to happen where a test does not care."""


async def nobody_else(_name, _source, _targets=()):
    """Records of bringing a model to other stores, where there are none."""
    for record in ():
        yield record


@asynccontextmanager
async def routed(
    *backends,
    slots=2,
    strategy="round_robin",
    limit=100,
    per_tenant=None,
    queue_s=PATIENT_S,
    body_bytes=2**20,
    body_s=PATIENT_S,
    stores=(),
    external=(),
    refresh=nothing,
    pull=None,
    share=nobody_else,
    traces=None,
    gate=None,
    may=anything,
    front_options=MappingProxyType({}),
    **timeouts,
):
    """A router over backends, each an instance `i0`, `i1`… that holds the model `m`.

    They share a store unless `stores` names that of each; those in `external` are not ours. Nobody
    runs out of time where a test does not say so: a busy machine holds the loop for seconds.
    """
    specs = tuple(
        InstanceSpec(
            f"i{n}",
            "g",
            "127.0.0.1",
            b.port,
            slots,
            stores[n] if stores else "/store",
            external=f"i{n}" in external,
            url=f"http://127.0.0.1:{b.port}",
        )
        for n, b in enumerate(backends)
    )
    state = State(Placement(specs))
    for instance in state.instances.values():
        state.set_phase(instance, Phase.READY, 0.0)
        state.set_stored(instance, [StoredModel(canonical("m"), "m", "d", 1, {"name": "m:latest"})])
    rng = random.Random(1)
    door = Admission(
        state,
        STRATEGIES[strategy](Tools(Estimates(), rng, model_aware=False)),
        limit=limit,
        per_tenant=per_tenant,
        timeout_s=queue_s,
        rng=rng,
        clock=time.monotonic,
    )
    names = ("connect_s", "first_byte_s", "idle_s", "whole_s", "change_s")
    limits = dict.fromkeys(names, PATIENT_S) | timeouts
    records, ended = [], []

    def on_end(journal):
        records.append(journal.record())
        ended.append(journal)

    loading = Loading(state, wall=time.time)
    relay = Relay(
        state,
        door,
        loading,
        Timeouts(**limits),
        on_end=on_end,
        clock=time.monotonic,
        wall=time.time,
        traces=traces,
    )
    unloaded = []

    async def unload(key, name):
        unloaded.append((key, name))

    limits, library = Limits(body_bytes, body_s), SimpleNamespace(pull=pull, share=share)
    parts = Parts(state, relay, Mutations(state, refresh), limits, library, unload, may)
    gate = gate or Gate(clock=time.monotonic, wall=time.time)
    api = Api(parts, Door(Origins(), frozenset({"x"})), RequestIds(0.0, 0), gate)
    options = {"bounds": Bounds(header_timeout_s=PATIENT_S), "drain_s": 1.0, **front_options}
    front = Front(api.handle, "127.0.0.1", 0, **options)
    async with front:
        try:
            router = Router(state, front)
            router.unloaded = unloaded
            router.records = records
            router.ended = ended
            router.relay = relay
            router.admission = door
            yield router
        finally:
            relay.close()
    for instance in state.instances.values():
        assert (instance.in_flight, instance.bound) == (0, 0), "a lease leaked"
