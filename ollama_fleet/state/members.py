"""Which instances there are: they join and leave while the fleet runs, and their specs change."""

from collections.abc import Callable, Mapping

from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import memory
from ollama_fleet.state.instance import Instance
from ollama_fleet.state.listeners import Listeners
from ollama_fleet.state.records import Phase, StoredModel
from ollama_fleet.state.rosters import Rosters


class Members(Listeners):
    """The instances by name, and which models are bound to some of them.

    `on_joined` is told of each that comes later, `on_left` of each that is no more.
    """

    def __init__(self, placement: Placement) -> None:
        super().__init__()
        self.instances: dict[str, Instance] = {
            spec.name: Instance(spec, number) for number, spec in enumerate(placement.instances)
        }
        self.routes = placement.routes
        self.on_joined: list[Callable[[Instance], None]] = []
        self.on_left: list[Callable[[Instance], None]] = []
        self._rosters = Rosters(placement.routes)
        self._joined = len(self.instances)

    def join(self, spec: InstanceSpec) -> Instance:
        """Take one in, as the last; it is stopped.

        What others on its store hold it holds, too.
        """
        known = (i.stored for i in self.instances.values() if i.spec.store == spec.store)
        instance = Instance(spec, self._joined)
        self._joined += 1
        self._take_in(instance, next(known, {}))
        self.changed()
        return instance

    def leave(self, instance: Instance) -> None:
        """Leave one out for good; a request that is in flight there all the same may end."""
        self._leave_out(instance)
        self.changed()

    def succeed(self, old: Instance, spec: InstanceSpec) -> Instance:
        """Put another in the place of one that has the same name and is stopped; it is, too.

        It stays out of rotation if that was. At no moment is there nobody: who waits, waits on.
        """
        known = old.stored if old.spec.store == spec.store else {}
        instance = Instance(spec, old.number, drain=old.drain)
        self._leave_out(old)
        self._take_in(instance, known)
        self.changed()
        return instance

    def _take_in(self, instance: Instance, stored: Mapping[str, StoredModel]) -> None:
        assert instance.name not in self.instances
        members = sorted((*self.instances.values(), instance), key=lambda member: member.number)
        self.instances.clear()
        self.instances.update({member.name: member for member in members})
        instance.store(dict(stored))
        self._rosters.stored(instance, (), stored)
        for tell in self.on_joined:
            tell(instance)

    def _leave_out(self, instance: Instance) -> None:
        instance.phase = Phase.STOPPED
        memory.forget(instance)
        self._rosters.health(instance)
        before = instance.stored
        instance.store({})
        self._rosters.stored(instance, before, ())
        del self.instances[instance.name]
        for tell in self.on_left:
            tell(instance)

    def alter(self, instance: Instance, spec: InstanceSpec) -> None:
        """Take another spec of it, of which its process sees nothing."""
        instance.spec = spec
        instance.sketches.clear()
        instance.load_sketches.clear()
        self.changed()

    def reroute(self, routes: Mapping[str, frozenset[str]]) -> None:
        """Bind other models to other instances from now on."""
        self.routes = routes
        self._rosters.routes = routes
        for instance in self.instances.values():
            self._rosters.health(instance)
        self.changed()
