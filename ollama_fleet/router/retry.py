"""Retry: may this failure be tried elsewhere? Pure.

Asked only while no byte of an answer has gone to the client; after that the answer is never.
"""

from dataclasses import dataclass

from ollama_fleet.errors import (
    ConnectFailed,
    Failure,
    FirstByteTimeout,
    InstanceHung,
    ModelMissing,
    Overloaded,
    UpstreamFailed,
)

LOST_TRIES = 3  # of a request that instances were lost with: it may be what they die of
REFUSED_TRIES = 3
COSTLY_TRIES = 2

# Failures that leave the fleet with no less capacity than before: trying elsewhere adds load on top
# of load, so they share a budget. A dead or wrong instance is different: its work is gone from the
# fleet, and moving it adds nothing. A 503 is an instance that has not begun: it costs nothing to be
# refused, and whoever refuses all is free all the time and would be given all.
_COSTLY = (UpstreamFailed, FirstByteTimeout)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many costly retries may be under way: a share of all requests, `least` at any rate.

    The figures are Envoy's. When all that a fleet does fails, it does so little in vain.
    """

    share: float = 0.2
    least: int = 3

    def allows(self, *, active: int, retrying: int) -> bool:
        """One more, while `active` requests are under way, `retrying` of them costly retries."""
        return retrying < max(self.least, self.share * active)


def may_retry(failure: Failure, *, tries: int, others: int, repeats: int = 0) -> bool:
    """Whether a request that failed may be sent again, to another instance if there is one.

    `tries` times an instance was given it, `repeats` times one was asked that had been before;
    `others` have not been asked and could serve it. A costly retry needs the budget's consent
    besides. An instance that was lost is worth waiting for even where nobody else is left: it is
    being restarted.
    """
    if isinstance(failure, ConnectFailed) and not failure.sent:
        return others > 0 or repeats < LOST_TRIES - 1
    if isinstance(failure, (ConnectFailed, InstanceHung)):
        return tries < LOST_TRIES
    if isinstance(failure, ModelMissing):
        return others > 0
    if isinstance(failure, Overloaded):
        return others > 0 and tries < REFUSED_TRIES
    return is_costly(failure) and others > 0 and tries < COSTLY_TRIES


def is_costly(failure: Failure) -> bool:
    """Whether retrying it counts against the budget."""
    return isinstance(failure, _COSTLY)


def pause_s(repeats: int) -> float:
    """How long to wait before the same instance is asked again, for want of another one.

    Long enough in all for it to be found out that it is gone: then the request waits in the queue.
    """
    return _FIRST_PAUSE_S * 3.0**repeats


_FIRST_PAUSE_S = 0.1
