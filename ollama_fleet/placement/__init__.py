"""Placement: the wanted groups and the GPUs at hand -> what instances to run, and why. Pure.

`seats` deals the GPUs, `models` says which model may run where, `environment` what a process
gets to see; `instances` puts them together.
"""

from ollama_fleet.placement.instances import place
from ollama_fleet.placement.spec import InstanceSpec, Placement

__all__ = ["InstanceSpec", "Placement", "place"]
