"""What is told of a request while it is on its way. Pure."""

import math

from ollama_fleet.router.relay.journal import Journal
from ollama_fleet.state import Lease, LiveRequest, Stage


def live(journal: Journal, now_s: float) -> LiveRequest:
    """What is known of it now; `now_s` is by the relay's clock."""
    request, lease = journal.request, journal.lease
    stage, since_s = (Stage.QUEUE, journal.began_s) if lease is None else _stage(lease)
    return LiveRequest(
        id=request.id,
        model=request.model,
        instance=lease.instance.name if lease is not None else "",
        stage=stage,
        age_s=round(now_s - journal.began_s, 3),
        stage_s=round(max(0.0, now_s - since_s), 3),
        tokens=lease.tokens() if lease is not None and lease.tokens is not None else 0,
        prompt_bytes=request.prompt_bytes,
        attempts=len(journal.tried),
        route=request.path,
        tenant=request.tenant,
        client=request.client,
    )


def _stage(lease: Lease) -> tuple[Stage, float]:
    """What a request with a place waits for, and since when."""
    if lease.residency is None:
        return Stage.PASSING, lease.began_s
    if lease.first_s < math.inf:
        return Stage.DECODE, lease.first_s
    if lease.at_work_s < math.inf:
        return Stage.PREFILL, lease.at_work_s
    return Stage.LOAD, lease.began_s
