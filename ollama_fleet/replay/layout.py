"""The fleet of a replay: instances with their hardware, and the models that they hold.

A layout is made from a simulated box's profile: one instance per GPU, as `fleet up` would run it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ollama_fleet.gpu import Gpu, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.replay.hardware import Hardware
from ollama_fleet.sim.ollama.jobs import Limits
from ollama_fleet.sim.ollama.profile import Model, Node, Profile
from ollama_fleet.sim.ollama.rates import Rates
from ollama_fleet.sim.ollama.residency import Weights
from ollama_fleet.state import StoredModel

FOREVER_S = -1.0  # a keep_alive, as Ollama writes it
_MODELS_PER_GPU = 3  # that Ollama keeps in memory


@dataclass(frozen=True, slots=True)
class Host:
    """An instance and what it runs on."""

    spec: InstanceSpec
    hardware: Hardware


@dataclass(frozen=True, slots=True)
class Layout:
    """All instances and models; `resident` are the models in every memory from the start."""

    name: str
    hosts: tuple[Host, ...]
    models: tuple[Model, ...]
    resident: tuple[str, ...] = ()

    @property
    def placement(self) -> Placement:
        """What the fleet's store is made from."""
        return Placement(tuple(host.spec for host in self.hosts))

    @property
    def weights(self) -> Mapping[str, Weights]:
        """What the servers know of each model, by its key."""
        return {
            canonical(m.name): Weights(digest_of(m.name), m.size_bytes, m.embedding, m.speed)
            for m in self.models
        }

    def stored(self) -> Sequence[StoredModel]:
        """What every instance's store holds."""
        return [
            StoredModel(
                key=canonical(m.name),
                name=m.name,
                digest=digest_of(m.name),
                size_bytes=m.size_bytes,
                row={"name": m.name, "size": m.size_bytes},
                blob=digest_of(m.name),
            )
            for m in self.models
        ]

    def warm(self, *models: str) -> "Layout":
        """The same with these models in every instance's memory from the start."""
        return replace(self, resident=models)

    def serving(self, *models: str) -> "Layout":
        """The same with these models only."""
        kept = tuple(m for m in self.models if m.name in models)
        return replace(self, models=kept)

    def capacity_per_s(
        self, prompt_tokens: float, output_tokens: float, base_s: float = 0
    ) -> float:
        """Requests of that size which all slots together serve in a second, every slot busy.

        `base_s` is what a request costs besides its tokens.
        """
        return sum(_per_s(host, prompt_tokens, output_tokens, base_s) for host in self.hosts)


def of_profile(profile: Profile, *, keep_alive_s: float = FOREVER_S) -> Layout:
    """A layout of one instance for each GPU of a simulated box."""
    models = tuple(model for model in profile.models if not model.embedding)
    hosts = tuple(host_of(node, profile.cpu, keep_alive_s=keep_alive_s) for node in profile.cards)
    return Layout(profile.name, hosts, models)


def host_of(node: Node, cpu: Rates, *, name: str = "", keep_alive_s: float = FOREVER_S) -> Host:
    """An instance on one GPU, named after it."""
    limits = Limits(
        budget_bytes=node.memory_bytes,
        parallel=node.slots,
        max_models=_MODELS_PER_GPU,
        keep_alive_s=keep_alive_s,
    )
    name = name or f"gpu-{node.index}"
    gpu = Gpu(f"GPU-{name}", node.index, name, Vendor.NVIDIA, node.memory_bytes)
    port = 11500 + node.index
    spec = InstanceSpec(name, "all", "127.0.0.1", port, node.slots, "/models", gpus=(gpu,))
    return Host(spec, Hardware(node.rates, cpu, limits))


def joined(layout: Layout, more: Iterable[Host]) -> Layout:
    """The layout with more instances; those whose name is taken get a number behind it."""
    hosts = list(layout.hosts)
    for host in more:
        taken = {h.spec.name for h in hosts}
        name, number = host.spec.name, 2
        while name in taken:
            name, number = f"{host.spec.name}-{number}", number + 1
        hosts.append(replace(host, spec=replace(host.spec, name=name)))
    return replace(layout, hosts=tuple(hosts))


def digest_of(name: str) -> str:
    """What a model's weights go by here."""
    return f"sha256:{canonical(name)}"


def _per_s(host: Host, prompt_tokens: float, output_tokens: float, base_s: float) -> float:
    rates, slots = host.hardware.usual, host.spec.slots
    prefill_s = prompt_tokens / rates.prefill_tokens_per_s
    return slots / (base_s + prefill_s + output_tokens * rates.decode_s(slots))
