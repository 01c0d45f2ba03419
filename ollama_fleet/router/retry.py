"""Retry: may this failure be tried elsewhere? Pure.

Asked only while no byte of an answer has gone to the client; after that the answer is never.
"""

from ollama_fleet.errors import (
    ConnectFailed,
    Failure,
    FirstByteTimeout,
    ModelMissing,
    Overloaded,
    UpstreamFailed,
)

MAX_TRIES = 3
BUDGET_RATIO = 0.2  # of the active requests may be retries of costly failures
BUDGET_MIN = 3

# Failures that leave the fleet with no less capacity than before: trying elsewhere adds load on top
# of load, so they share a budget (Envoy's figures). A dead or wrong instance is different: its work
# is gone from the fleet, and moving it adds nothing.
_COSTLY = (Overloaded, UpstreamFailed, FirstByteTimeout)
_FREE = (ConnectFailed, ModelMissing)


def may_retry(failure: Failure, *, tries: int, others: int, active: int, retrying: int) -> bool:
    """Whether a request that failed may be sent to another instance.

    `tries` attempts were made, `others` instances could still serve it, `active` requests are in
    the fleet and `retrying` of them are costly retries already.
    """
    if others == 0:
        return False
    if isinstance(failure, _FREE):
        return True
    if isinstance(failure, _COSTLY):
        return tries < MAX_TRIES and retrying < max(BUDGET_MIN, BUDGET_RATIO * active)
    return False


def is_costly(failure: Failure) -> bool:
    """Whether retrying it counts against the budget."""
    return isinstance(failure, _COSTLY)
