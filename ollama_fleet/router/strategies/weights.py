"""What an instance can take: the weight it was given, else what it was seen to do."""

from ollama_fleet.router.intake import Request
from ollama_fleet.router.strategies.tools import Tools
from ollama_fleet.state import Instance


def weight(tools: Tools, request: Request, instance: Instance) -> float:
    """Its configured weight, else the tokens per second of all its slots together."""
    if instance.spec.weight:
        return instance.spec.weight
    residency = instance.residency(request.key, request.profile)
    weights = residency.weights if residency is not None else request.key
    slots = instance.slots_of(weights)
    return slots / tools.speeds.speed(instance.name, weights).token_s(slots)
