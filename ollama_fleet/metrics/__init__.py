"""The fleet's counters and gauges for Prometheus: requests feed the ones, snapshots the others."""

from ollama_fleet.metrics.exposition import Metrics

__all__ = ["Metrics"]
