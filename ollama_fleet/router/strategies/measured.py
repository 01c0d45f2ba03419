"""By what the machine says of itself: least_loaded."""

from collections.abc import Mapping

from ollama_fleet.gpu import GpuReading
from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import Ahead, Figures, Strategy, View
from ollama_fleet.router.strategies.tools import OncePerRequest, Tools
from ollama_fleet.state import Instance


def least_loaded(tools: Tools) -> Strategy:
    """The lowest sum of slots taken, GPU utilisation, VRAM used and CPU load, each 0 to 1.

    Requests that wait count beyond 1. What is not measured counts as nothing.
    """
    readings = OncePerRequest(_readings)

    def score(
        request: Request, instance: Instance, view: View, now_s: float, ahead: Ahead
    ) -> Figures:
        load = instance.in_flight + instance.bound + ahead.count
        slots = load / instance.slots
        busy, memory = _gpus(instance, readings(request, view, now_s))
        cpu = instance.cpu_ratio
        return slots + busy + memory + cpu, slots, busy, memory, cpu

    terms = ("slots", "gpu", "memory", "cpu")
    return Strategy("least_loaded", score, terms, model_aware=tools.model_aware)


def _readings(_request: Request, view: View) -> Mapping[str, GpuReading]:
    return {reading.uuid: reading for reading in view.gpu_sample.readings}


def _gpus(instance: Instance, readings: Mapping[str, GpuReading]) -> tuple[float, float]:
    """Mean utilisation of its GPUs, and the share of their memory that is used."""
    gpus = instance.spec.gpus
    if not gpus:
        return 0.0, 0.0
    seen = [readings[gpu.uuid] for gpu in gpus if gpu.uuid in readings]
    busy = sum(reading.utilisation_ratio or 0.0 for reading in seen) / len(gpus)
    used_bytes = sum(reading.memory_used_bytes or 0 for reading in seen)
    return busy, used_bytes / max(sum(gpu.memory_bytes for gpu in gpus), 1)
