"""What the doctor looks at: one record per subject. No judgement here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ollama_fleet.control.orphans import RunRecord
from ollama_fleet.control.ports import Listener
from ollama_fleet.control.service import Service
from ollama_fleet.doctor.footprints import Footprint
from ollama_fleet.gpu import Inventory


@dataclass(frozen=True, slots=True)
class BinaryFacts:
    """The program the fleet would run: as fleet.yaml names it, and what came of trying it.

    `path` is empty where there is none, `version` where it gives none; `trouble` says why.
    """

    wanted: str
    path: str = ""
    version: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class PortFacts:
    """A port the fleet wants, for `purpose`: the key of fleet.yaml that asks for it.

    `trouble` says why it cannot be had and is empty if it can; `holder` is who has it.
    """

    purpose: str
    host: str
    port: int
    trouble: str = ""
    holder: Listener | None = None


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """The model store, or the nearest folder above where it is to be made.

    `closed` are those of its folders that this user may not read, `read_only` may not write.
    `damage` has a line for each model that cannot be run for a blob that is missing or cut short;
    `prunable_bytes` are those of files that no model names, 0 where they are hardly any.
    """

    path: str
    exists: bool = True
    closed: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    free_bytes: int | None = None
    damage: tuple[str, ...] = ()
    prunable_bytes: int = 0


@dataclass(frozen=True, slots=True)
class OpenFacts:
    """A file or folder whose `mode` has permissions of `excess`, which it should not."""

    path: str
    mode: int
    excess: int

    @property
    def writable(self) -> bool:
        """Whether others may do more than read."""
        return bool(self.mode & self.excess & 0o022)


@dataclass(frozen=True, slots=True)
class KeysFacts:
    """Who has a key, in the file at `path`; `required`: nobody is let in at `listen` without.

    `is_open` is whether others can reach that and need none. `trouble` says why the file cannot be
    used, if so; one that is not there has no keys. `valid` counts keys, `admins` those of them that
    are an admin's, and `expired` names the others.
    """

    path: str
    listen: str
    required: bool
    is_open: bool
    trouble: str = ""
    valid: int = 0
    admins: int = 0
    expired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """The fleet's certificate: why it cannot be read, or what is to be said of its time, if so."""

    path: str
    trouble: str = ""
    told: str = ""


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """The interpreter we run in, its libraries, and how many files it may open.

    `uvloop` is its version, empty where it cannot be used.
    """

    python: tuple[int, int, int]
    yaml_in_c: bool
    uvloop: str
    files: int


@dataclass(frozen=True, slots=True)
class RocmFacts:
    """Ollama's libraries for AMD cards: the folder of its libraries, empty if it was not found.

    `backends` are those for ROCm in it, `targets` the chips (gfx942) that they are built for, none
    where they do not tell.
    """

    folder: str = ""
    backends: tuple[str, ...] = ()
    targets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was seen.

    `runs_own` is whether fleet.yaml asks for instances of our own; `externals` maps the names of
    the others to their versions, empty if they do not answer. `nvidia_cards` are those on the PCI
    bus, whatever the driver says. `misplaced` is why the groups do not fit the GPUs,
    `footprints` what models were measured to take of memory. `running` are
    instances that a run record says are alive, `fleet_pid` is the fleet that runs now, 0 if none
    does; `fleet_gpus` are the UUIDs of the GPUs that it was started with, None where none tells.
    `clients_wanted` may be connected under full load, of a fleet with so many `instances`, with TLS
    where `tls` says so.
    `open_to_others` is what other users can get at though it is for the fleet's own; `keys` say who
    else is let in, `certificate` as whom the fleet is known, None where it speaks plain HTTP.
    `rocm_overridden` is whether fleet.yaml has ROCm take a card for another. `lacks` says in what a
    fleet is less on this system than on Linux, `keeps_instances` whether it can have some of its
    own there.
    """

    binary: BinaryFacts
    inventory: Inventory
    stores: tuple[StoreFacts, ...]
    program: ProgramFacts
    runs_own: bool = True
    ports: tuple[PortFacts, ...] = ()
    services: tuple[Service, ...] = ()
    externals: Mapping[str, str] = field(default_factory=dict)
    nvidia_cards: int = 0
    misplaced: str = ""
    misplaced_hint: str = ""
    footprints: tuple[Footprint, ...] = ()
    placement_notes: tuple[str, ...] = ()
    running: tuple[RunRecord, ...] = ()
    clients_wanted: int = 0
    instances: int = 0
    tls: bool = False
    fleet_pid: int = 0
    fleet_gpus: frozenset[str] | None = None
    open_to_others: tuple[OpenFacts, ...] = ()
    keys: KeysFacts | None = None
    certificate: CertificateFacts | None = None
    rocm: RocmFacts = RocmFacts()
    rocm_overridden: bool = False
    lacks: tuple[str, ...] = ()
    keeps_instances: bool = True
