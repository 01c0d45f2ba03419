"""The fleet's own registry, for instances on other machines: what is offered to one pull.

Reading order: asked (what a request names), offers (who may have what, and how long), sending (a
part of a blob by the kernel's hand), reach (what to call us), listener (the listening side).
"""

from ollama_fleet.api.registry.listener import Registry

__all__ = ["Registry"]
