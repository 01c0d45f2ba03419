"""One try at one instance: send, first byte, bytes both ways, end."""

import asyncio
from collections.abc import Awaitable

from ollama_fleet.errors import (
    ConnectFailed,
    Failure,
    ModelMissing,
    Overloaded,
    StreamBroken,
    UpstreamFailed,
)
from ollama_fleet.history import Ending
from ollama_fleet.router.body import Body
from ollama_fleet.router.intake import Request
from ollama_fleet.router.relay.exchange import Client, Exchange
from ollama_fleet.router.relay.framing import End, Head
from ollama_fleet.router.relay.journal import Journal
from ollama_fleet.router.relay.pool import Pool
from ollama_fleet.router.relay.request_head import request_head
from ollama_fleet.router.relay.upstream import Upstream
from ollama_fleet.router.relay.watch import Pace, Watch, pace
from ollama_fleet.state import Completed, Instance, Lease, State


class Attempt:
    """One request at the instance that its lease is of. `give_back` it, whatever happens."""

    __slots__ = (
        "_given_up",
        "_journal",
        "_lease",
        "_pool",
        "_request",
        "_upstream",
        "_watch",
        "answered",
    )

    def __init__(
        self, lease: Lease, request: Request, pool: Pool, watch: Watch, journal: Journal
    ) -> None:
        self._lease = lease
        self._request = request
        self._pool = pool
        self._watch = watch
        self._journal = journal
        self._upstream: Upstream | None = None
        self._given_up: Failure | None = None  # why it was broken off
        self.answered = False  # all of the answer has been passed on
        lease.attempt = self

    @property
    def stalled(self) -> bool:
        """Its client does not keep up, so that the instance has to wait, too."""
        return self._upstream is not None and self._upstream.paused_s is not None

    def break_off(self, failure: Failure) -> None:
        """Wait for its instance no longer: elsewhere, if nothing of an answer has come."""
        if self._upstream is not None:
            self._given_up = failure
            self._upstream.expire(failure)

    def give_back(self) -> None:
        """Let go of the connection: kept if it may carry another request, else closed.

        And of the lease, which leads back here: all that a request was would wait for the garbage
        collector, whose rounds are rare.
        """
        self._lease.attempt = None
        if self._upstream is not None:
            self._watch.end(self._upstream)
            self._pool.give_back(self._upstream)
            self._journal.stalled_s += self._upstream.stalled_s

    async def ask(self) -> Head:
        """Send the request and wait for the head of its answer. Raises Failure.

        A connection that was idle may have died unnoticed: then one fresh one is tried, because an
        instance that has answered nothing on it has done nothing either.
        """
        self._upstream = self._pool.idle() if self._request.repeatable else None
        if self._upstream is not None:
            try:
                return await self._send(self._upstream)
            except ConnectFailed:
                if self._upstream.answered:
                    raise
                self.give_back()
        self._upstream = await self._pool.connect()
        return await self._send(self._upstream)

    def misgiving(self, head: Head) -> Failure | None:
        """What the status says against the instance; None for an answer like any other."""
        name = self._lease.instance.name
        if head.status == 503:
            return Overloaded(f"{name} answered 503")
        if head.status == 404 and self._lease.listed:
            return ModelMissing(f"{name} does not have {self._request.model}")
        if head.status >= 500:
            return UpstreamFailed(f"{name} answered {head.status}")
        return None

    async def pass_on(self, head: Head, client: Client, state: State) -> None:
        """Hand the answer to the client as it comes.

        Raises StreamBroken if it is cut, what it was broken off with if it was.
        """
        upstream, request, lease = self._upstream, self._request, self._lease
        assert upstream is not None
        exchange = Exchange(request.dialect, head, client)
        state.progress(lease, exchange.tokens, upstream.last_data_s, status=head.status)
        self._journal.answering(head.status, exchange, upstream.last_data_s)
        client.start(head, _ours(lease.instance, request, self._journal))
        done = upstream.receive(
            exchange,
            bodiless=request.method == "HEAD" or head.status in (204, 304),
            decode=head.chunked and not client.speaks_chunked,
        )
        try:
            if not done.done():  # an answer that is no stream mostly came whole with its head
                client.flow(upstream.pause, upstream.resume)
            end = await done
        except asyncio.CancelledError:
            # Many a client hangs up as soon as it has all, before we have had our turn.
            if _is_whole(done):
                self._answered(head, exchange, state)
            raise
        if end is End.CUT:
            self._cut(exchange, client, whole=upstream.whole)
        exchange.finish()
        self._answered(head, exchange, state)

    def _answered(self, head: Head, exchange: Exchange, state: State) -> None:
        """All of the answer has been passed on: say what it was."""
        self.answered = True
        self._journal.answered(exchange)
        told, lease = self._journal.figures, self._lease
        if head.status < 400:
            state.outcome(
                lease,
                Completed(
                    head.status,
                    told.prompt_tokens,
                    told.output_tokens,
                    load_s=told.load_s,
                    prefill_s=told.prefill_s,
                    decode_s=told.decode_s,
                    records=exchange.records,
                    whole=self._journal.ending is Ending.COMPLETED,
                ),
            )

    def _cut(self, exchange: Exchange, client: Client, *, whole: bool) -> None:
        name = self._lease.instance.name
        failure = self._given_up or StreamBroken(f"{name} was lost in the middle of the answer")
        if exchange.streams and whole and exchange.at_record_end:
            exchange.say_broken(str(failure))
        else:
            client.reset()
        raise failure

    def _send(self, upstream: Upstream) -> Awaitable[Head]:
        """Send the request; who awaits what is returned waits for the head of its answer."""
        body = self._request.body
        head = request_head(self._request, self._pool.host_header, self._journal.trace)
        self._journal.sent = True
        at = pace(self._request)
        if not isinstance(body, bytes):
            return self._send_pieces(upstream, body, upstream.send(head, b""), at)
        coming = upstream.send(head, body)
        self._watch.begin(upstream, at)
        return coming

    async def _send_pieces(
        self, upstream: Upstream, body: Body, coming: "asyncio.Future[Head]", at: Pace
    ) -> Head:
        stall_s = self._watch.timeouts.next_s(at)
        try:
            await self._send_body(upstream, body, coming, stall_s)
        except BaseException:
            coming.cancel()  # nobody hears any more how it failed
            raise
        self._watch.begin(upstream, at)
        return await coming

    async def _send_body(
        self, upstream: Upstream, body: Body, coming: "asyncio.Future[Head]", stall_s: float
    ) -> None:
        """Send it piece by piece, until it is sent or the instance has answered without it."""
        sending = asyncio.create_task(upstream.send_pieces(body, stall_s=stall_s))
        try:
            await asyncio.wait((sending, coming), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


def _is_whole(done: "asyncio.Future[End]") -> bool:
    ended = done.done() and not done.cancelled() and done.exception() is None
    return ended and done.result() is not End.CUT


def _ours(instance: Instance, request: Request, journal: Journal) -> tuple[bytes, ...]:
    """The headers that are added to an instance's answer; who did not wait hears nothing of it."""
    lines = [f"X-Fleet-Instance: {instance.name}".encode()]
    if request.id:
        lines.append(f"X-Request-Id: {request.id}".encode())
    if journal.waited:
        lines.append(b"X-Fleet-Queue-Seconds: %.3f" % journal.queue_s)
    return tuple(lines)
