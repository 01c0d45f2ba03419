"""The arithmetic of a model's memory, for people. Pure."""

from ollama_fleet.units import show_bytes
from ollama_fleet.vram.need import Need


def explain(need: Need) -> str:
    """One line: what the sum is of."""
    use = need.use
    slots = f"{use.num_parallel} x {use.context_length} tokens"
    parts = [
        f"weights {show_bytes(need.weights_bytes)}",
        f"cache {show_bytes(need.cache_bytes)} ({slots} in {use.cache_type})",
        f"graph {show_bytes(need.graph_bytes)}",
    ]
    if need.overhead_bytes:
        parts.append(f"overhead {show_bytes(need.overhead_bytes)}")
    return f"{show_bytes(need.total_bytes)} = {' + '.join(parts)}"
