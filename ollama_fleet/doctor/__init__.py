"""`fleet doctor`: what stands in the way of a fleet on this machine, and how to mend it.

`gather` looks and changes nothing; `checks` judges what it saw, purely.
"""

from ollama_fleet.doctor.check import Check, Status
from ollama_fleet.doctor.checks import checks
from ollama_fleet.doctor.facts import Facts
from ollama_fleet.doctor.gather import gather

__all__ = ["Check", "Facts", "Status", "checks", "gather"]
