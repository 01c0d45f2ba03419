"""What is noted of one request on its way; at its end it becomes the record that is kept."""

import msgspec

from ollama_fleet.errors import Failure
from ollama_fleet.history import Ending, RequestRecord
from ollama_fleet.router.admission import Admitted
from ollama_fleet.router.dialect import Figures
from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import UNDECIDED, Scores
from ollama_fleet.router.relay.exchange import Exchange
from ollama_fleet.state import Lease


class Journal(msgspec.Struct, eq=False):  # one per request: a fifth of a dataclass's time
    """One request, all its attempts. `arrived_s` is Unix time, the rest by the relay's clock.

    `began_s` and `ended_s` are moments, `queue_s`, `load_s` and `first_byte_s` how long it took.
    `costly` counts the retries that use up the budget; `sent` says that the request, or part of
    it, was given to an instance. `lease` is the place that it holds now, if it has one.
    """

    request: Request
    strategy: str
    arrived_s: float
    began_s: float
    tried: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()  # those that were tried elsewhere, by name
    costly: int = 0
    sent: bool = False
    waited: bool = False
    queue_s: float = 0.0
    load_s: float = 0.0
    first_byte_s: float = 0.0
    ended_s: float = 0.0
    scores: Scores = UNDECIDED
    status: int = 0
    ending: Ending = Ending.REFUSED
    answered_whole: bool = False
    error: str = ""
    figures: Figures = Figures()
    exchange: Exchange | None = None
    lease: Lease | None = None

    @property
    def excluded(self) -> frozenset[str]:
        """The instances that have had the request."""
        return frozenset(self.tried)

    def admitted(self, place: Admitted, waited_s: float) -> None:
        """One more attempt, after waiting for it."""
        self.lease = place.lease
        self.tried += (self.lease.instance.name,)
        self.scores = place.scores
        self.waited |= place.waited
        self.queue_s += waited_s

    def answering(self, status: int, exchange: Exchange, now_s: float) -> None:
        """The answer that the client gets has begun."""
        self.status = status
        self.exchange = exchange
        self.first_byte_s = now_s - self.began_s

    def answered(self, exchange: Exchange) -> None:
        """It has come to its end, properly."""
        self.answered_whole = True
        self.figures = exchange.figures()
        if self.status >= 400:
            self.ending = Ending.REFUSED
        else:
            self.ending = Ending.COMPLETED if exchange.ended else Ending.INCOMPLETE

    def failed(self, failure: Failure) -> None:
        """There is no answer, or no more of it; the client is told so."""
        self.error = f"{type(failure).__name__}: {failure}"
        if self.status:
            self.ending = Ending.BROKEN
        else:
            self.status = failure.status

    def left(self, error: BaseException) -> None:
        """The client has hung up. One that had all of its answer by then has been served."""
        if not self.answered_whole:
            self.ending = Ending.CLIENT_GONE
            self.error = type(error).__name__

    def record(self) -> RequestRecord:
        """What is kept of it."""
        request, figures, exchange = self.request, self.figures, self.exchange
        body = request.body
        return RequestRecord(
            id=request.id,
            arrived_s=self.arrived_s,
            client=request.client,
            method=request.method,
            route=request.path,
            dialect=str(request.dialect),
            model=request.model,
            key=request.key,
            stream=request.stream,
            inference=bool(request.slot),
            strategy=self.strategy,
            instance=self.tried[-1] if self.tried else "",
            attempts=len(self.tried),
            tried=self.tried,
            failures=self.failures,
            ending=self.ending,
            status=self.status,
            error=self.error,
            queue_s=self.queue_s,
            load_s=self.load_s,
            first_byte_s=self.first_byte_s,
            total_s=self.ended_s - self.began_s,
            prompt_tokens=figures.prompt_tokens,
            output_tokens=figures.output_tokens,
            records=exchange.records if exchange else 0,
            request_bytes=len(body) if isinstance(body, bytes) else body.size or 0,
            answer_bytes=exchange.answer_bytes if exchange else 0,
            reported_load_s=figures.load_s,
            reported_prefill_s=figures.prefill_s,
            reported_decode_s=figures.decode_s,
            terms=tuple(self.scores.terms),
            scores=tuple(self.scores),
        )
