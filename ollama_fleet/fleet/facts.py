"""What a snapshot of a fleet shows that is settled when it is put together."""

from ollama_fleet import __version__
from ollama_fleet.fleet.prepare import Prepared
from ollama_fleet.state import FleetFacts


def make_facts(plan: Prepared, started_s: float) -> FleetFacts:
    """The facts of a fleet that is prepared so; `started_s` is monotonic."""
    listen = str(plan.config.listen)
    return FleetFacts(
        version=__version__,
        listen=f"https://{listen}" if plan.config.tls.enabled else listen,
        strategy=plan.config.routing.strategy,
        simulated=plan.inventory.simulated,
        started_s=started_s,
        gpus=plan.inventory.gpus,
        notes=plan.placement.notes,
    )
