"""What a request is expected to take of the GPUs: its tenant is charged when it starts. Pure.

In GPU-seconds, as accounts have it (fairness.py): the instance's GPUs x the seconds of prefill and
decode / the slots at work meanwhile, which are taken to be those at its start.
"""

from ollama_fleet.router.intake import Request
from ollama_fleet.router.strategies import Expectations, Speeds
from ollama_fleet.state import Instance


class Costs:
    """Reckons with what was learned, or in a replay with the truth."""

    __slots__ = ("_expected", "_speeds")

    def __init__(self, speeds: Speeds, expected: Expectations) -> None:
        self._speeds = speeds
        self._expected = expected

    def gpu_s(self, request: Request, instance: Instance) -> float:
        """What it will take there if it starts now; 0 if it takes no slot."""
        residency = instance.residency(request.key, request.profile) if request.slot else None
        if residency is None:
            return 0.0
        prompt_tokens, output_tokens = self._expected(request)
        busy = 1
        for runner in instance.runners.values():
            if runner.resident:
                busy += runner.in_flight
        speed = self._speeds.speed(instance.name, residency.weights)
        seconds = speed.prefill_s(prompt_tokens) + output_tokens * speed.token_s(busy)
        return (len(instance.spec.gpus) or 1) * seconds / busy
