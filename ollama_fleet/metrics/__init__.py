"""The fleet's counters and gauges for Prometheus: requests feed the ones, snapshots the others.

Reading order: text (the formats), tallies (counts), families and readings (every metric's name),
labels and reasons (what stands in labels), requests (what one adds), gauges, exposition (a page).
"""

from ollama_fleet.metrics.exposition import Metrics, Page
from ollama_fleet.metrics.gauges import Sources
from ollama_fleet.metrics.readings import Configured, Disk

__all__ = ["Configured", "Disk", "Metrics", "Page", "Sources"]
