"""Retry: may this failure be tried elsewhere? Pure.

Asked only while no byte of an answer has gone to the client; after that the answer is never.
"""

from ollama_fleet.errors import (
    ConnectFailed,
    Failure,
    FirstByteTimeout,
    InstanceHung,
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


def may_retry(failure: Failure, *, tries: int, others: int, active: int, retrying: int) -> bool:
    """Whether a request that failed may be sent again, to another instance if there is one.

    `tries` attempts were made, `others` instances have not been tried and could serve it, `active`
    requests are in the fleet, `retrying` of them costly retries already. An instance that was
    lost is worth waiting for even where nobody else is left: it is being restarted.
    """
    if isinstance(failure, (ConnectFailed, InstanceHung)):
        return others > 0 or tries < MAX_TRIES
    if isinstance(failure, ModelMissing):
        return others > 0
    if isinstance(failure, _COSTLY):
        budget = max(BUDGET_MIN, BUDGET_RATIO * active)
        return others > 0 and tries < MAX_TRIES and retrying < budget
    return False


def is_costly(failure: Failure) -> bool:
    """Whether retrying it counts against the budget."""
    return isinstance(failure, _COSTLY)
