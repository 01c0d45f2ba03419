"""Who may do what: keys, the callers they stand for, roles, budgets and bounds.

    presented = take_key(request)     # presented.py: the key, off the request for good
    caller = gate.enter(…)            # gate.py: who that is (ring.py), and may it be (roles.py)
    gate.begin(caller, route)         # ledger.py: budgets (rates.py), until gate.end(caller, route)
    require_model(caller, asked)      # judging.py: its models, and bounds of options (bounds.py)
    gate.spent(name, tokens)          # at its end, what it has used of its budget (usage.py)

Whatever is not to be raises Denied (denied.py). keyfile.py is the file that keys are kept in.
"""

from ollama_fleet.api.auth.bounds import Bounds
from ollama_fleet.api.auth.caller import ANYONE, Caller, Models, Role
from ollama_fleet.api.auth.denied import Denied, Why
from ollama_fleet.api.auth.gate import Gate, Terms
from ollama_fleet.api.auth.judging import require_bounds, require_model
from ollama_fleet.api.auth.presented import take_key

__all__ = [
    "ANYONE",
    "Bounds",
    "Caller",
    "Denied",
    "Gate",
    "Models",
    "Role",
    "Terms",
    "Why",
    "require_bounds",
    "require_model",
    "take_key",
]
