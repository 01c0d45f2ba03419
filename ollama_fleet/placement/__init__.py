"""Placement: the wanted groups and the GPUs at hand -> what instances to run, and why. Pure.

`seats` deals the GPUs to groups and `shares` to their instances, by how near they are (`closeness`,
in words: `wiring`) and what of them is for models (`kept`). `needs` says how much memory a model
takes there, `models` which model may run where and what cannot (`misfits`, and the ways out:
`remedies`), `environment` what a process gets to see; `instances` puts them together, `binding`
keeps them to the CPUs that are near. `changes` says how one fleet becomes another, `fits` where a
model would go.
"""

from ollama_fleet.placement.instances import place
from ollama_fleet.placement.needs import Claim, Models
from ollama_fleet.placement.spec import InstanceSpec, Placement

__all__ = ["Claim", "InstanceSpec", "Models", "Placement", "place"]
