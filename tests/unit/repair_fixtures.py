"""An instance that can be made to hang in several ways, for repairs on virtual time."""

from dataclasses import replace

from fleet_fixtures import fleet, resident
from virtual_time import now, passes

from ollama_fleet.config import RepairConfig
from ollama_fleet.control.repair.mending import Mending
from ollama_fleet.control.repair.steps import Steps
from ollama_fleet.errors import CallNotMade, InstanceHung, OllamaError, StartFailed
from ollama_fleet.gpu import Gpu, Vendor
from ollama_fleet.state import Phase


class Attempt:
    """A request at an instance, as the router holds it."""

    def __init__(self, lease, *, stalled=False):
        self.lease, self.stalled = lease, stalled
        self.failure = None
        lease.attempt = self

    def break_off(self, failure):
        assert isinstance(failure, InstanceHung)
        self.failure = failure
        self.lease.served(now())
        self.lease.release()


class Sick:
    """An instance with a model in memory. `ails` says from which step on it answers again."""

    def __init__(self, *, slots=2, ails="", gpus=()):
        self.state = fleet("a", "b", slots=slots)
        self.it = self.state.instances["a"]
        if gpus:
            self.it.spec = replace(self.it.spec, gpus=gpus)
        self.it.starts, self.it.pid = 1, 100
        self.ails = ails
        self.rows = (resident("m"),)
        self.state.set_resident(self.it, self.rows)
        self.done = []
        self.notices = []
        self.state.on_notice.append(self.notices.append)

    # -- what a repair calls

    async def one_token(self, name, _options, *, embeds, timeout_s):
        assert not embeds
        self.done.append(("token", name))
        if self.ails == "unasked":
            raise CallNotMade("it was not called: too many open files")
        if self.ails in ("unload", "restart", "incurable"):
            await passes(timeout_s)
            raise OllamaError("no answer")
        await passes(0.1)

    async def unload(self, name, *, timeout_s):
        self.done.append(("unload", name))
        if self.ails in ("", "unload"):
            self.rows, self.ails = (), ""
        elif self.ails:
            await passes(timeout_s)
            raise OllamaError("no answer")

    async def look(self, instance):
        await passes(0.01)
        if instance is self.it:
            self.state.set_resident(instance, self.rows)

    async def restart(self, name):
        self.done.append(("restart", name, now()))
        self.state.set_phase(self.it, Phase.STARTING, now())
        await passes(1)
        self.it.starts += 1
        if self.ails == "incurable":
            self.state.set_phase(self.it, Phase.FAILED, now(), "it is broken")
            raise StartFailed("it is broken")
        self.ails, self.rows = "", (resident("m"),)
        self.state.set_phase(self.it, Phase.READY, now())
        self.state.set_resident(self.it, self.rows)

    # -- what a test does

    def mending(self, **settings):
        steps = Steps(lambda _: self, self, self.restart, timeout_s=10.0)
        made = RepairConfig.model_validate(settings)
        return Mending(self.state, steps, made, drain_s=30.0, clock=now)

    def request(self, *, stalled=False):
        """One that has been sent to it and is waited for."""
        lease = self.state.lease(self.it, next(iter(self.it.stored)))
        lease.serve(now())
        return Attempt(lease, stalled=stalled)

    def steps(self):
        return [n.figures["stage"] for n in self.notices if n.kind == "instance_repair"]

    def kinds(self):
        return [str(notice.kind) for notice in self.notices]


def card(index=0, gib=24, **more):
    return Gpu(f"GPU-{index}", index, "card", Vendor.NVIDIA, gib * 2**30, **more)
