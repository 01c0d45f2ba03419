"""What is noted of one request on its way; at its end it becomes the record that is kept."""

import msgspec

from ollama_fleet.errors import Failure
from ollama_fleet.history import Drawn, Ending, RequestRecord, unmeasured
from ollama_fleet.router.admission import Admitted
from ollama_fleet.router.dialect import Figures
from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import UNDECIDED, Scores
from ollama_fleet.router.queue import NOBODY, Crowd
from ollama_fleet.router.relay.exchange import Exchange
from ollama_fleet.state import Lease
from ollama_fleet.tracing import Trace


class Journal(msgspec.Struct, eq=False):  # one per request: a fifth of a dataclass's time
    """One request, all its attempts. `arrived_s` is Unix time, the rest by the relay's clock.

    `began_s` and `ended_s` are moments, `queue_s`, `load_s` and `first_byte_s` how long it took.
    `costly` counts the retries that use up the budget, until an answer comes; `sent` says that the
    request, or part of it, was given to an instance; `unsent` counts the tries of which that is not
    true. `lease` is the place that it holds now, if it has one; `past` are those where it has
    failed. `crowd` is what it found, had it to wait; `stalled_s` how long the client kept the
    answer waiting;
    `loaded_gpu_s` its share of the load that it waited for.
    """

    request: Request
    strategy: str
    arrived_s: float
    began_s: float
    tried: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()  # those that were tried elsewhere, by name
    costly: int = 0
    sent: bool = False
    unsent: int = 0
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
    past: tuple[Lease, ...] = ()
    crowd: Crowd = NOBODY
    stalled_s: float = 0.0
    loaded_gpu_s: float = 0.0
    trace: Trace | None = None

    @property
    def excluded(self) -> frozenset[str]:
        """The instances that have had the request."""
        return frozenset(self.tried)

    @property
    def given(self) -> int:
        """How many times an instance was given it."""
        return len(self.tried) - self.unsent

    @property
    def repeats(self) -> int:
        """How many times an instance was asked that had been asked before."""
        return len(self.tried) - len(self.excluded)

    def admitted(self, place: Admitted, waited_s: float) -> None:
        """One more attempt, after waiting for it."""
        self.lease = place.lease
        self.tried += (self.lease.instance.name,)
        self.scores = place.scores
        if place.waited:
            self.waited, self.crowd = True, place.crowd
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

    def loaded(self, lease: Lease, load_s: float) -> None:
        """Its model has been loaded for it, and for those who waited with it."""
        self.load_s += load_s
        sharing = lease.runner.in_flight if lease.runner is not None else 1
        self.loaded_gpu_s += load_s * _gpus(lease) / max(sharing, 1)

    def record(self, drawn_j: Drawn = unmeasured) -> RequestRecord:
        """What is kept of it; `drawn_j` tells what an instance's GPUs drew."""
        request, figures, exchange, lease = self.request, self.figures, self.exchange, self.lease
        body, crowd = request.body, self.crowd
        had = (*self.past, lease) if lease is not None else self.past
        last_s = lease.began_s if lease is not None else self.ended_s
        busy = _busy(lease, self.ended_s)
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
            tenant=request.tenant,
            instances_up=crowd.up,
            instances_full=crowd.full,
            waiting_before=crowd.waiting,
            stalled_s=self.stalled_s,
            failed_s=max(last_s - self.began_s - self.queue_s, 0.0) if self.past else 0.0,
            busy=busy,
            gpu_s=self.loaded_gpu_s + sum(each.had_s * _gpus(each) for each in had),
            energy_j=_energy_j(lease, self.ended_s, drawn_j, busy),
        )


def _gpus(lease: Lease) -> int:
    """What counts as one, where there is none or nobody knows of any."""
    return len(lease.instance.spec.gpus) or 1


def _busy(lease: Lease | None, ended_s: float) -> float:
    """How many its instance worked on meanwhile: its time there by what it had of it."""
    if lease is None or not lease.had_s:
        return 0.0
    return max((ended_s - lease.at_work_s) / lease.had_s, 1.0)


def _energy_j(lease: Lease | None, ended_s: float, drawn_j: Drawn, busy: float) -> float | None:
    """Its share of what its instance drew in its time there."""
    if lease is None or not busy:
        return None
    drawn = drawn_j(lease.instance.name, lease.at_work_s, ended_s)
    return None if drawn is None else drawn / busy
