"""The waiting requests, and the order in which they are to be served. Pure.

Who was at an instance already is first. Then by priority class, within a class by fair share
(fairness.py), within a tenant by arrival. But one part in TURN of the GPU-seconds goes by arrival
alone, so that nobody waits for ever: before a request starts, no more than TURN times what the
older ones and itself cost is started in its line, and the one that was about to. With one tenant
and one class all that is first come, first served.
"""

from ollama_fleet.router.queue.line import TURN, Line
from ollama_fleet.router.queue.room import WaitingRoom
from ollama_fleet.router.queue.waiter import NOBODY, Crowd, Waiter

__all__ = ["NOBODY", "TURN", "Crowd", "Line", "Waiter", "WaitingRoom"]
