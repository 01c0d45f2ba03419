"""A profile: the box that is simulated, its GPUs, its CPU and the models a registry would have.

Built-in profiles are the YAML files in `ollama_fleet/sim/profiles`; `load` takes a name of one
of them or a path.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollama_fleet.names import ModelName
from ollama_fleet.sim.ollama.rates import Rates
from ollama_fleet.units import parse_size

BUILT_IN = Path(__file__).parents[1] / "profiles"
DEFAULT = "4-mixed"
VENDORS = ("nvidia", "amd")
KINDS = ("discrete", "integrated", "slice", "virtual")
LINKS = ("nvlink", "xgmi", "switch", "bridge", "node", "socket")


@dataclass(frozen=True, slots=True)
class Node:
    """One simulated GPU. `slots` is what OLLAMA_NUM_PARALLEL defaults to on it.

    `index` is its place in the profile unless that says otherwise, as slices are numbered after
    their cards. `vendor` and `kind` are nvidia or amd, and discrete, integrated, slice or virtual;
    `parent` is the number of the card that a slice belongs to; `cpus` are the nearest.
    """

    index: int
    gpu_name: str
    memory_bytes: int
    slots: int
    rates: Rates
    vendor: str = "nvidia"
    kind: str = "discrete"
    parent: int | None = None
    numa_node: int | None = None
    cpus: tuple[int, ...] = ()
    display: bool = False
    reserved_bytes: int = 0

    @property
    def uuid(self) -> str:
        """Its identity, the same in every process that reads the profile."""
        prefix = "MIG" if self.kind == "slice" else "GPU"
        return f"{prefix}-51300000-0000-0000-0000-{self.index:012x}"

    @property
    def parent_uuid(self) -> str:
        """The identity of the card that it is a slice of; "" if it is none."""
        return "" if self.parent is None else f"GPU-51300000-0000-0000-0001-{self.parent:012x}"


@dataclass(frozen=True, slots=True)
class Wiring:
    """How each two of some GPUs, by their numbers, are connected; bytes per second are one way."""

    gpus: tuple[int, ...]
    kind: str
    bytes_per_s: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """A model the simulated registry has; `speed` multiplies what a node's rates say."""

    name: str
    size_bytes: int
    parameter_size: str
    quantization: str
    family: str
    embedding: bool = False
    context_length: int = 8192
    embedding_length: int = 64
    speed: float = 1.0
    tools: bool = False

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it can do, in Ollama's words."""
        if self.embedding:
            return ("embedding",)
        return ("completion", "tools") if self.tools else ("completion",)


@dataclass(frozen=True, slots=True)
class Outputs:
    """How long answers without `num_predict` are: log-normal, in tokens."""

    median_tokens: float = 180.0
    sigma: float = 0.7
    max_tokens: int = 2048


@dataclass(frozen=True, slots=True)
class Profile:
    """A whole simulated box. `version` is the Ollama version it answers with."""

    name: str
    description: str
    version: str
    registry_bytes_per_s: float
    nodes: tuple[Node, ...]
    cpu: Rates
    cpu_slots: int
    models: tuple[Model, ...]
    installed: tuple[str, ...]
    outputs: Outputs
    links: tuple[Wiring, ...] = ()

    @property
    def cards(self) -> tuple[Node, ...]:
        """The GPUs that a fleet takes by itself: no integrated or virtual one beside others."""
        return tuple(n for n in self.nodes if n.kind in {"discrete", "slice"}) or self.nodes

    def link(self, one: int, other: int) -> Wiring | None:
        """How two GPUs are connected: the first of `links` that names both says so."""
        return next((w for w in self.links if {one, other} <= set(w.gpus)), None)

    def model(self, name: str) -> Model | None:
        """The registry's model of this name, in any spelling; None if it has none."""
        try:
            key = ModelName.parse(name).key
        except ValueError:
            return None
        return next((m for m in self.models if ModelName.parse(m.name).key == key), None)


def load(name_or_path: str) -> Profile:
    """Read a built-in profile by name or any by path. Raises ValueError with the reason."""
    path = BUILT_IN / f"{name_or_path}.yaml"
    if "/" in name_or_path or not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in BUILT_IN.glob("*.yaml")))
        raise ValueError(f"there is no profile {name_or_path!r} (built in: {known})")
    import yaml  # noqa: PLC0415  # only who reads a profile pays for the parser

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(path.read_bytes(), Loader=loader)  # noqa: S506  # a safe loader
        return _profile(document, path.stem)
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"profile {path}: {reason}") from error


def _profile(document: Any, stem: str) -> Profile:
    if not isinstance(document, Mapping):
        raise TypeError("a profile is a mapping of keys such as nodes, cpu, models")
    profile = Profile(
        name=str(document.get("name", stem)),
        description=str(document.get("description", "")),
        version=str(document.get("version", "0.20.0")),
        registry_bytes_per_s=float(parse_size(document.get("registry_bytes_per_s", "100MB"))),
        nodes=tuple(_node(i, entry) for i, entry in enumerate(document.get("nodes", ()))),
        cpu=_rates(document["cpu"]),
        cpu_slots=int(document["cpu"].get("slots", 1)),
        models=tuple(_model(entry) for entry in document["models"]),
        installed=tuple(document.get("installed", ())),
        outputs=Outputs(**document.get("outputs", {})),
        links=tuple(map(_wiring, document.get("links", ()))),
    )
    numbers = [node.index for node in profile.nodes]
    if len(set(numbers)) < len(numbers):
        raise ValueError("two GPUs have the same index")
    for number in (number for wiring in profile.links for number in wiring.gpus):
        if number not in numbers:
            raise ValueError(f"links names GPU {number}, but there are {numbers}")
    for name in profile.installed:
        if profile.model(name) is None:
            raise ValueError(f"installed names {name!r}, which is not among models")
    return profile


def _node(index: int, entry: Mapping[str, Any]) -> Node:
    slots, gpu = int(entry["slots"]), entry["gpu"]
    if slots < 1:
        raise ValueError(f"node {index} has {slots} slots")
    return Node(
        index=int(gpu.get("index", index)),
        gpu_name=str(gpu["name"]),
        memory_bytes=parse_size(gpu["memory"]),
        slots=slots,
        rates=_rates(entry),
        vendor=_one_of(VENDORS, gpu.get("vendor", "nvidia")),
        kind=_one_of(KINDS, gpu.get("kind", "discrete")),
        parent=gpu.get("parent"),
        numa_node=gpu.get("numa_node"),
        cpus=tuple(_cpus(str(gpu.get("cpus", "")))),
        display=bool(gpu.get("display", False)),
        reserved_bytes=parse_size(gpu.get("reserved", 0)),
    )


def _wiring(entry: Mapping[str, Any]) -> Wiring:
    gpus = tuple(map(int, entry["gpus"]))
    return Wiring(gpus, _one_of(LINKS, entry["kind"]), parse_size(entry.get("bytes_per_s", 0)))


def _one_of(known: tuple[str, ...], value: Any) -> str:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return str(value)


def _cpus(text: str) -> Iterator[int]:
    """Numbers of CPUs from the kernel's lists: `0-7,16-23`."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _rates(entry: Mapping[str, Any]) -> Rates:
    rates = Rates(
        prefill_tokens_per_s=float(entry["prefill_tokens_per_s"]),
        decode_base_s=float(entry["decode_base_s"]),
        decode_per_busy_s=float(entry["decode_per_busy_s"]),
        load_bytes_per_s=float(parse_size(entry["load_bytes_per_s"])),
    )
    if min(rates.prefill_tokens_per_s, rates.load_bytes_per_s) <= 0:
        raise ValueError("prefill_tokens_per_s and load_bytes_per_s must be positive")
    if min(rates.decode_base_s, rates.decode_per_busy_s) < 0:
        raise ValueError("decode seconds must not be negative")
    return rates


def _model(entry: Mapping[str, Any]) -> Model:
    model = Model(
        name=str(entry["name"]),
        size_bytes=parse_size(entry["size"]),
        parameter_size=str(entry["parameter_size"]),
        quantization=str(entry["quantization"]),
        family=str(entry["family"]),
        embedding=bool(entry.get("embedding", False)),
        context_length=int(entry.get("context_length", 8192)),
        embedding_length=int(entry.get("embedding_length", 64)),
        speed=float(entry.get("speed", 1.0)),
        tools=bool(entry.get("tools", False)),
    )
    ModelName.parse(model.name)
    if model.size_bytes < 1 or model.speed <= 0:
        raise ValueError(f"model {model.name} needs a positive size and speed")
    return model
