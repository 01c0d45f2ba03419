"""Relay: attempts at instances until one answers, and its bytes to the client.

The life of a request ends here: send, first byte, bytes both ways, end. Before the first byte a
failure may be tried elsewhere (retry.py); after it never.
"""

import asyncio
from dataclasses import dataclass

from ollama_fleet.errors import (
    ClientGone,
    ConnectFailed,
    Failure,
    FirstByteTimeout,
    ModelMissing,
    Overloaded,
    StreamBroken,
    UpstreamFailed,
)
from ollama_fleet.router.admission import Admission
from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import candidates
from ollama_fleet.router.relay.exchange import Client, Exchange
from ollama_fleet.router.relay.framing import Head
from ollama_fleet.router.relay.upstream import End, Pool, Upstream
from ollama_fleet.router.retry import is_costly, may_retry
from ollama_fleet.state import Completed, Instance, Lease, State

__all__ = ["Client", "Relay", "Timeouts"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, to wait for the first byte (a model may load first), between bytes."""

    connect_s: float
    first_byte_s: float
    idle_s: float


class Relay:
    """Serves requests: each ends exactly once, as an answer, as an error, or with its client."""

    def __init__(self, state: State, admission: Admission, timeouts: Timeouts) -> None:
        self._state = state
        self._admission = admission
        self._timeouts = timeouts
        self._pools: dict[str, Pool] = {}
        self._active = 0
        self._retrying = 0

    def close(self) -> None:
        """Close idle connections."""
        for pool in self._pools.values():
            pool.close()

    async def serve(self, request: Request, client: Client) -> None:
        """Answer a request through some instance.

        Raises the last Failure if nothing of an answer has been sent; cancellation means that the
        client has left.
        """
        history = _History()
        self._active += 1
        try:
            while True:
                with await self._admission.admit(
                    request, self._excluded(request, history)
                ) as lease:
                    history.note(lease.instance)
                    try:
                        await self._attempt(lease, request, client, history)
                    except Failure as failure:
                        self._state.outcome(lease, failure)
                        if not self._may_retry(failure, request, history):
                            raise
                        if is_costly(failure):
                            history.costly += 1
                            self._retrying += 1
                    else:
                        return
        finally:
            self._active -= 1
            self._retrying -= history.costly

    def _excluded(self, request: Request, history: "_History") -> frozenset[str]:
        """Who must not get the request again: who had it, unless there is nobody else."""
        if history.excluded and self._others(request, history):
            return history.excluded
        return frozenset()

    def _others(self, request: Request, history: "_History") -> int:
        return len(candidates(request, self._state, history.excluded))

    def _may_retry(self, failure: Failure, request: Request, history: "_History") -> bool:
        return may_retry(
            failure,
            tries=history.tries,
            others=self._others(request, history),
            active=self._active,
            retrying=self._retrying,
        )

    async def _attempt(
        self, lease: Lease, request: Request, client: Client, history: "_History"
    ) -> None:
        pool = self._pool(lease.instance)
        upstream: Upstream | None = None
        try:
            upstream, head = await self._exchange_heads(pool, request)
            failure = _classify(head, request, lease.instance)
            if failure is not None and self._may_retry(failure, request, history):
                raise failure
            await self._pass_on(lease, request, client, upstream, head)
            if failure is not None:
                self._state.outcome(lease, failure)
        except asyncio.CancelledError:
            self._state.outcome(lease, ClientGone("the client left"))
            raise
        finally:
            if upstream is not None:
                pool.give_back(upstream)

    async def _exchange_heads(self, pool: Pool, request: Request) -> tuple[Upstream, Head]:
        """Send the request and wait for the head of its answer.

        A connection that was idle may have died unnoticed: then one fresh one is tried, because an
        instance that has answered nothing on it has done nothing either.
        """
        upstream = pool.idle()
        if upstream is not None:
            try:
                return upstream, await self._head(upstream, pool, request)
            except ConnectFailed:
                if upstream.answered:
                    raise
        upstream = await pool.connect()
        return upstream, await self._head(upstream, pool, request)

    async def _head(self, upstream: Upstream, pool: Pool, request: Request) -> Head:
        future = upstream.send(_request_head(request, pool.host_header), request.body)
        try:
            async with asyncio.timeout(self._timeouts.first_byte_s):
                return await future
        except TimeoutError:
            upstream.abort()
            raise FirstByteTimeout(
                f"no answer began within {self._timeouts.first_byte_s:g} s"
            ) from None
        except BaseException:
            upstream.abort()
            raise

    async def _pass_on(
        self, lease: Lease, request: Request, client: Client, upstream: Upstream, head: Head
    ) -> None:
        def progress(tokens: int) -> None:
            self._state.progress(lease, tokens)

        exchange = Exchange(request, head, client, progress)
        client.start(head, ((b"X-Fleet-Instance", lease.instance.name.encode()),))
        client.flow(upstream.pause, upstream.resume)
        done = upstream.receive(
            exchange,
            bodiless=request.method == "HEAD" or head.status in (204, 304),
            decode=head.chunked and not client.speaks_chunked,
        )
        end = await self._end(upstream, done)
        if end is End.COMPLETE:
            client.finish()
            prompt, output = exchange.counted()
            if output > exchange.tokens:
                progress(output - exchange.tokens)
            if head.status < 400:
                self._state.outcome(lease, Completed(head.status, prompt, output))
            return
        if exchange.streams and upstream.whole and exchange.at_record_end:
            exchange.say_broken(f"{lease.instance.name} was lost in the middle of the answer")
            client.finish()
        else:
            client.reset()
        raise StreamBroken(f"{lease.instance.name} was lost in the middle of an answer")

    async def _end(self, upstream: Upstream, done: "asyncio.Future[End]") -> End:
        """Wait for the end of the body; cut it if nothing comes for too long."""
        watch = _IdleWatch(upstream, self._timeouts.idle_s)
        try:
            return await done
        except BaseException:
            upstream.abort()
            raise
        finally:
            watch.cancel()

    def _pool(self, instance: Instance) -> Pool:
        pool = self._pools.get(instance.name)
        if pool is None:
            pool = Pool(instance.spec.base_url, connect_timeout_s=self._timeouts.connect_s)
            self._pools[instance.name] = pool
        return pool


@dataclass(slots=True)
class _History:
    """What was tried for one request."""

    tries: int = 0
    excluded: frozenset[str] = frozenset()
    costly: int = 0

    def note(self, instance: Instance) -> None:
        """One more attempt."""
        self.tries += 1
        self.excluded |= {instance.name}


class _IdleWatch:
    """Aborts a connection on which nothing has come for a while. One timer, not one per piece."""

    def __init__(self, upstream: Upstream, idle_s: float) -> None:
        self._upstream = upstream
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(idle_s, self._check)

    def _check(self) -> None:
        rest_s = self._upstream.last_data_s + self._idle_s - self._loop.time()
        if rest_s <= 0:
            self._upstream.abort()
        else:
            self._timer = self._loop.call_later(rest_s, self._check)

    def cancel(self) -> None:
        """Watch no longer."""
        self._timer.cancel()


def _classify(head: Head, request: Request, instance: Instance) -> Failure | None:
    """What an answer's status says of the instance; None if it is an answer like any other."""
    if head.status == 503:
        return Overloaded(f"{instance.name} answered 503")
    if head.status == 404 and request.key in instance.stored:
        return ModelMissing(f"{instance.name} does not have {request.model}")
    if head.status >= 500:
        return UpstreamFailed(f"{instance.name} answered {head.status}")
    return None


_NOT_FORWARDED = frozenset(
    (
        b"host",
        b"origin",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"upgrade",
        b"expect",
        b"access-control-request-method",
        b"access-control-request-headers",
    )
)


def _request_head(request: Request, host: bytes) -> bytes:
    """Our own request head: our route, our Host, the client's end-to-end headers."""
    named = b",".join(v for n, v in request.headers if n.lower() == b"connection").lower()
    dropped = _NOT_FORWARDED | {token.strip() for token in named.split(b",")}
    lines = [f"{request.method} {request.path} HTTP/1.1".encode(), b"Host: " + host]
    lines += [n + b": " + v for n, v in request.headers if n.lower() not in dropped]
    if request.body or request.method != "GET":
        lines.append(b"Content-Length: %d" % len(request.body))
    return b"\r\n".join(lines) + b"\r\n\r\n"
