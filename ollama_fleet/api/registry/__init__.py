"""The fleet's own registry, for instances on other machines: what is offered to one pull.

Reading order: asked (what a request names), offers (who may have what, and how long), sending (a
part of a file by the kernel's hand), listener (the listening side), reach (what to call us).
"""

from ollama_fleet.api.registry.listener import Registry
from ollama_fleet.api.registry.reach import own_address

__all__ = ["Registry", "own_address"]
