"""Running a plan and writing what comes of it, in whatever dialect.

Nothing is sent before the first token, not even a status line: an error until then has its own
status, and a client sees silence while the request waits, the model loads, the prompt is read.
"""

from typing import Protocol

from ollama_fleet.sim.ollama.api.plan import Plan
from ollama_fleet.sim.ollama.api.service import BUSY, ApiError, Service
from ollama_fleet.sim.ollama.engine import Run, RunFailedError
from ollama_fleet.sim.ollama.jobs import QueueFullError
from ollama_fleet.sim.ollama.text import Call
from ollama_fleet.sim.ollama.wire.exchange import Exchange, Header


class Dialect(Protocol):
    """How one API family writes an answer. Each list item is an HTTP chunk of its own."""

    stream_type: str
    whole_type: str
    stream_headers: tuple[Header, ...]

    def opening(self, run: Run) -> list[bytes]:
        """What comes before an answer's first record."""
        ...

    def token(self, piece: str) -> bytes:
        """One token."""
        ...

    def called(self, call: Call) -> list[bytes]:
        """One call of a tool."""
        ...

    def closing(self, run: Run) -> list[bytes]:
        """The end of a complete answer."""
        ...

    def broken(self, text: str) -> list[bytes]:
        """The end of an answer whose runner died."""
        ...

    def whole(self, run: Run) -> bytes:
        """A complete answer in one piece."""
        ...


def start(exchange: Exchange, service: Service, plan: Plan) -> Run:
    """Submit a plan. Raises ApiError 503, 500."""
    try:
        run = service.engine.start(plan.job, service.engine.clock())
    except QueueFullError:
        raise ApiError(503, BUSY) from None
    except RunFailedError as error:
        raise ApiError(500, str(error)) from None
    exchange.spoiled = run.job.spoiled
    return run


async def answer(exchange: Exchange, service: Service, plan: Plan, dialect: Dialect) -> None:
    """Run a plan that has an answer, and send it. Raises ApiError before the first byte."""
    with start(exchange, service, plan) as run:
        if plan.ask.stream:
            await _stream(exchange, run, dialect)
        else:
            await finished(run)
            exchange.send(200, dialect.whole(run), dialect.whole_type)


async def finished(run: Run) -> None:
    """Wait for a run's end. Raises ApiError 500."""
    try:
        await run.ready()
        await run.finished()
    except RunFailedError as error:
        raise ApiError(500, str(error)) from None


async def _stream(exchange: Exchange, run: Run, dialect: Dialect) -> None:
    try:
        await run.ready()
    except RunFailedError as error:
        raise ApiError(500, str(error)) from None
    try:
        async for index in run.tokens():
            _show(exchange, run, dialect, index)
            await exchange.drained()
    except RunFailedError as error:
        if not exchange.started:
            raise ApiError(500, str(error), streamed=True) from None
        records = dialect.broken(str(error))
    else:
        _begin(exchange, run, dialect)
        assert run.job.answer is not None
        records = [] if run.job.answer.unended else dialect.closing(run)
    _send(exchange, records)
    exchange.end()


def _show(exchange: Exchange, run: Run, dialect: Dialect, index: int) -> None:
    """Send what a client sees of a token: nothing of a call until it is complete."""
    reply = run.job.answer
    assert reply is not None
    if reply.calls is None:
        _begin(exchange, run, dialect)
        exchange.chunk(dialect.token(reply.piece(index)))
    elif (call := reply.calls.get(index)) is not None:
        _begin(exchange, run, dialect)
        _send(exchange, dialect.called(call))


def _begin(exchange: Exchange, run: Run, dialect: Dialect) -> None:
    if not exchange.started:
        exchange.start(200, dialect.stream_type, dialect.stream_headers)
        _send(exchange, dialect.opening(run))


def _send(exchange: Exchange, records: list[bytes]) -> None:
    for record in records:
        exchange.chunk(record)
