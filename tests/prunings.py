"""Prunings of a running fleet, one after another, beside whatever a test does meanwhile."""

import threading

from ollama_fleet.errors import FleetError


def prune(control, older_s):
    """Once, and what went: bytes of each store."""
    plan = control.plan_prune(older_s=older_s)
    agreed = {shed["store"]: shed["files"] for shed in plan["stores"]}
    return [shed["size_bytes"] for shed in control.prune(agreed, older_s=older_s)["stores"]]


class Prunings:
    """As long as this is entered: how many rounds, what they took, and what failed of them."""

    def __init__(self, control, older_s):
        self.rounds, self.removed_bytes, self.failures = 0, 0, []
        self._control, self._older_s, self._over = control, older_s, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self._over.set()
        self._thread.join(timeout=30)

    def _run(self):
        while not self._over.wait(0.01):
            try:
                self.removed_bytes += sum(prune(self._control, self._older_s))
                self.rounds += 1
            except FleetError as error:
                self.failures.append(str(error))
