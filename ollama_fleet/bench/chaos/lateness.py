"""`python -m ollama_fleet.bench.chaos.lateness`: how late this machine wakes a process that sleeps.

Looks until its stdin ends, then prints in milliseconds by how much 99 % of its naps were too long
at most. What is late in a fleet can be blamed on it only where this is not.
"""

import select
import sys
import time
from typing import Final

_NAP_S: Final = 0.02


def main() -> None:
    """Nap, look at the clock, nap again."""
    late_s: list[float] = []
    due_s = time.monotonic() + _NAP_S
    while not select.select([sys.stdin], [], [], max(0.0, due_s - time.monotonic()))[0]:
        late_s.append(time.monotonic() - due_s)
        due_s = time.monotonic() + _NAP_S
    late_s.sort()
    worst = late_s[int(0.99 * (len(late_s) - 1))] if late_s else 0.0
    sys.stdout.write(f"{worst * 1000:.1f}\n")


if __name__ == "__main__":
    main()
