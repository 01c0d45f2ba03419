"""Active health and repair, put together with what it looks at and acts through."""

from collections.abc import Callable

from ollama_fleet.control.prober import Prober
from ollama_fleet.control.repair import Repairs
from ollama_fleet.fleet.prepare import Prepared
from ollama_fleet.fleet.supervising import Supervising
from ollama_fleet.ollama import Ollama
from ollama_fleet.state import Instance, State


def make_repairs(
    plan: Prepared,
    state: State,
    prober: Prober,
    supervising: Supervising,
    *,
    client: Callable[[Instance], Ollama],
    clock: Callable[[], float],
) -> Repairs:
    """Repairs of the plan's own instances; they begin when it is entered."""

    async def restart(name: str) -> None:
        await supervising.restart([name])

    return Repairs(
        state,
        client,
        prober,
        restart,
        plan.config.repair,
        drain_s=plan.config.supervision.drain_timeout_s,
        clock=clock,
        simulated=plan.inventory.simulated,
    )
