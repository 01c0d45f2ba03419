"""Boxes with AMD cards as their kernels show them: trees of files, written to a folder.

Nobody has recorded these on such machines: they are written from the format, that of the kernel's
drivers/gpu/drm/amd/amdkfd/kfd_topology.c (the nodes), amdgpu's files (Documentation/gpu/amdgpu,
amdgpu_pm.c, amdgpu_vram_mgr.c) and the PCI bus (Documentation/ABI/testing/sysfs-bus-pci).
A tree maps a path below the root to the text of that file, or to a `Link`.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ollama_fleet.gpu.amd import AmdGpus, Tree

GIB = 2**30
XGMI, PCIE = 11, 2

NAMES = """\
# List of AMDGPU IDs
1.0.0
1586,\tC1,\tAMD Radeon 8060S Graphics
66A1,\t06,\tAMD Instinct MI50/MI60
744C,\tC8,\tAMD Radeon RX 7900 XTX
7480,\tC7,\tAMD Radeon RX 7600M XT
74A1,\t00,\tAMD Instinct MI300X
74B5,\t00,\tAMD Instinct MI300X VF
15BF,\tC7,\tAMD Radeon 780M
"""


@dataclass(frozen=True)
class Link:
    """A symbolic link to a path below the root."""

    to: str


Files = Mapping[str, "str | bytes | Link"]


@dataclass(frozen=True)
class FakeCard:
    """A card as the files are to tell of it; None leaves a file out, as kernels and boards do."""

    address: str
    device_id: int
    revision: int = 0
    unique_id: int = 0
    pci_class: str = "0x030000"
    gfx: int = 0
    way: str = "pci0000:00/0000:00:01.1"  # from the host bridge to the last port before the card
    vram_gib: float = 24
    gtt_gib: float = 16
    numa_node: int = -1
    cpulist: str = "0-15"
    board: str | None = "type : cem"
    vram_vendor: str | None = "samsung"
    mem_busy: str | None = "0"
    product: str | None = None
    used_gib: float = 0.5
    busy: str | None = "0"
    edge_c: float | None = 45
    junction_c: float | None = 50
    power: tuple[str, float] | None = ("power1_average", 20)
    state: str | None = "active"
    display: bool = False
    partitions: int = 1
    memory_gib: float | None = None  # of its nodes in KFD, where it is not that of the card
    has_cpus: bool = False
    codename: str = "ip discovery"
    minor: int = 128
    links: tuple[tuple[int, int, int], ...] = ()  # to a node, of a type, MB/s
    errors: Mapping[str, int] = field(default_factory=dict)
    throttle: int | None = None  # the word of reasons in gpu_metrics 1.3
    old: bool = False  # a kernel before 5.3: fewer properties


def properties(values: Mapping[str, object]) -> str:
    return "".join(f"{name} {value}\n" for name, value in values.items())


def box(cards: Iterable[FakeCard], sockets: int = 1, *, kfd: bool = True) -> dict:
    """The files of a box: CPUs are the first nodes, then the cards in this order."""
    files: dict = {"dev/kfd": ""} if kfd else {}
    number = sockets
    for cpu in range(sockets if kfd else 0):
        files |= _node(cpu, 0, {"cpu_cores_count": 32, "simd_count": 0, "vendor_id": 4130}, 512)
    for card in cards:
        files |= _device(card)
        for part in range(card.partitions if kfd else 0):
            files |= _gpu_node(card, number, part)
            number += 1
    files["ids"] = NAMES
    return files


def _node(number: int, gpu_id: int, values: Mapping[str, object], gib: float) -> dict:
    folder = f"sys/class/kfd/kfd/topology/nodes/{number}"
    bank = {"heap_type": 1, "size_in_bytes": int(gib * GIB), "flags": 0, "width": 8192}
    return {
        f"{folder}/gpu_id": f"{gpu_id}\n",
        f"{folder}/name": "\n",
        f"{folder}/properties": properties(values),
        f"{folder}/mem_banks/0/properties": properties(bank),
    }


def gpu_id(number: int) -> int:
    """KFD's id of the GPU that is this node."""
    return 10_000 + number


def _gpu_node(card: FakeCard, number: int, part: int) -> dict:
    domain, bus, rest = card.address.split(":")
    slot, function = rest.split(".")
    location = int(bus, 16) << 8 | int(slot, 16) << 3 | int(function) | part
    values = {
        "cpu_cores_count": 16 if card.has_cpus else 0,
        "simd_count": 384,
        "mem_banks_count": 1,
        "io_links_count": len(card.links),
        "vendor_id": 4098,
        "device_id": card.device_id,
        "location_id": location,
        "drm_render_minor": card.minor + part,
        "hive_id": 1 if any(kind == XGMI for _, kind, _ in card.links) else 0,
    }
    if not card.old:
        values |= {
            "gfx_target_version": card.gfx,
            "domain": int(domain, 16),
            "unique_id": card.unique_id,
            "num_xcc": 1,
        }
    gib = card.memory_gib if card.memory_gib is not None else card.vram_gib / card.partitions
    folder = f"sys/class/kfd/kfd/topology/nodes/{number}"
    files = _node(number, gpu_id(number), values, gib)
    files[f"{folder}/name"] = f"{card.codename}\n"
    for at, (to, kind, speed) in enumerate(card.links):
        told = {"type": kind, "node_from": number, "node_to": to, "weight": 15}
        told |= {} if card.old else {"min_bandwidth": speed, "max_bandwidth": speed}
        files[f"{folder}/io_links/{at}/properties"] = properties(told)
    minor = card.minor + part
    device = f"platform/amdgpu_xcp_{part - 1}" if part else f"{card.way}/{card.address}"
    return files | {
        f"sys/class/drm/renderD{minor}/device": Link(f"sys/devices/{device}"),
        f"dev/dri/renderD{minor}": "",
    }


def _device(card: FakeCard) -> dict:
    folder = f"sys/devices/{card.way}/{card.address}"
    told = {
        "vendor": "0x1002\n",
        "device": f"0x{card.device_id:04x}\n",
        "revision": f"0x{card.revision:02x}\n",
        "class": f"{card.pci_class}\n",
        "unique_id": f"{card.unique_id:016x}\n" if card.unique_id else None,
        "numa_node": f"{card.numa_node}\n",
        "local_cpulist": f"{card.cpulist}\n",
        "mem_info_vram_total": f"{int(card.vram_gib * GIB)}\n",
        "mem_info_vram_used": f"{int(card.used_gib * GIB)}\n",
        "mem_info_gtt_total": f"{int(card.gtt_gib * GIB)}\n",
        "mem_info_gtt_used": f"{GIB // 4}\n",
        "mem_info_vram_vendor": card.vram_vendor and f"{card.vram_vendor}\n",
        "board_info": card.board and f"{card.board}\n",
        "product_name": card.product and f"{card.product}\n",
        "gpu_busy_percent": card.busy and f"{card.busy}\n",
        "mem_busy_percent": card.mem_busy and f"{card.mem_busy}\n",
        "power/runtime_status": card.state and f"{card.state}\n",
        "config": b"\x02\x10\x4c\x74",
        "driver": Link("sys/bus/pci/drivers/amdgpu"),
        "gpu_metrics": None if card.throttle is None else metrics(card.throttle),
        "hwmon/hwmon4/name": "amdgpu\n",
        "hwmon/hwmon4/temp1_label": None if card.edge_c is None else "edge\n",
        "hwmon/hwmon4/temp1_input": None if card.edge_c is None else f"{card.edge_c * 1000:.0f}\n",
        "hwmon/hwmon4/temp2_label": "junction\n" if card.junction_c is not None else None,
        "hwmon/hwmon4/temp2_input": None
        if card.junction_c is None
        else f"{card.junction_c * 1000:.0f}\n",
    }
    if card.power:
        told[f"hwmon/hwmon4/{card.power[0]}"] = f"{card.power[1] * 1e6:.0f}\n"
    for part, errors in card.errors.items():
        told[f"ras/{part}_err_count"] = f"ue: {errors}\nce: 7\n"
    if card.partitions > 1:
        told |= {"current_compute_partition": "CPX\n", "current_memory_partition": "NPS4\n"}
    connector = f"drm/card{card.minor - 128}/card{card.minor - 128}-DP-1"
    told[f"{connector}/enabled"] = "enabled\n" if card.display else "disabled\n"
    told[f"{connector}/status"] = "connected\n" if card.display else "disconnected\n"
    files = {f"{folder}/{name}": value for name, value in told.items() if value is not None}
    return files | {f"sys/bus/pci/devices/{card.address}": Link(folder)}


def metrics(reasons: int, version: tuple[int, int] = (1, 3)) -> bytes:
    """A table of measurements in the form of version 1.3, with these reasons to throttle."""
    return struct.pack("<HBB", 120, *version) + bytes(108) + struct.pack("<Q", reasons)


def process(pid: int, held: Mapping[int, int]) -> dict:
    """A process that uses ROCm: by the node of a GPU the bytes it holds."""
    folder = f"sys/class/kfd/kfd/proc/{pid}"
    files = {f"{folder}/pasid": "32770\n"}
    for number, size_bytes in held.items():
        files[f"{folder}/vram_{gpu_id(number)}"] = f"{size_bytes}\n"
    return files


def write(root: Path, files: Files) -> Tree:
    """Write the files below a folder: the tree to read. All device nodes may be opened."""
    for folder in {str(root / name).rpartition("/")[0] for name in files}:
        Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        if isinstance(content, Link):
            path.symlink_to(root / content.to)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)
    return tree_at(root)


def tree_at(root: Path) -> Tree:
    return Tree(
        sys=root / "sys",
        dev=root / "dev",
        names=(root / "ids",),
        may_open=lambda _: True,
    )


def source(root: Path, files: Files) -> AmdGpus:
    return AmdGpus(write(root, files))


# -- the boxes -------------------------------------------------------------------------------------

MI300X = FakeCard(
    "0000:05:00.0", 0x74A1, gfx=90402, vram_gib=192, gtt_gib=1008, board="type : oam",
    vram_vendor="hynix", edge_c=None, junction_c=41, power=("power1_input", 140),
    pci_class="0x120000",
)  # fmt: skip
XTX = FakeCard("0000:03:00.0", 0x744C, 0xC8, gfx=110000, power=("power1_average", 31))


def four_mi300x() -> dict:
    """4 x MI300X, each linked to each over XGMI, two on either of two sockets."""
    cards = []
    for at in range(4):
        others = [2 + n for n in range(4) if n != at]
        socket = at // 2
        cards.append(
            replace(
                MI300X,
                address=f"0000:{0x05 + 0x20 * at:02x}:00.0",
                way=f"pci0000:{0x20 * at:02x}/0000:{0x20 * at:02x}:01.1",
                unique_id=0x1122_3344_5566_7700 + at,
                numa_node=socket,
                cpulist="0-47,96-143" if socket == 0 else "48-95,144-191",
                minor=128 + at,
                links=((socket, PCIE, 64_000), *((n, XGMI, 50_000) for n in others)),
            )
        )
    return box(cards, sockets=2)


def two_xtx() -> dict:
    """2 x RX 7900 XTX behind the switches that are on each card, a display on the second."""
    way = "pci0000:00/0000:00:0{}.1/0000:0{}:00.0/0000:0{}:00.0"
    one = replace(XTX, unique_id=0xABCDEF0000000001, way=way.format(1, 1, 2), throttle=0)
    two = replace(
        one,
        address="0000:07:00.0",
        unique_id=0xABCDEF0000000002,
        way=way.format(3, 5, 6),
        minor=129,
        display=True,
        used_gib=1.5,
        busy="7",
        throttle=1 << 36 | 1,
    )
    return box([one, two])


LAPTOP_CARD = FakeCard(
    "0000:03:00.0", 0x7480, 0xC7, unique_id=0x00C0_FFEE_0000_0001, gfx=110002, vram_gib=8,
    state="suspended", busy=None, edge_c=None, junction_c=None, power=None, used_gib=0,
)  # fmt: skip
APU = FakeCard(
    "0000:c4:00.0", 0x15BF, 0xC7, gfx=110003, vram_gib=0.5, gtt_gib=15, memory_gib=15,
    way="pci0000:00/0000:00:08.1", board=None, vram_vendor=None, mem_busy=None, junction_c=None,
    display=True, minor=129, used_gib=0.4,
)  # fmt: skip


def laptop() -> dict:
    """A laptop: a card that sleeps, and the graphics part of the processor, which has no id."""
    return box([LAPTOP_CARD, APU])


def partitioned() -> dict:
    """An MI300X in eight partitions (CPX), which share the unique id of the card."""
    return box([replace(MI300X, unique_id=0x99AA_BBCC_DDEE_FF00, partitions=8)])


def without_unique_id() -> dict:
    """An RX 580, which has no unique id, beside an RX 7900 XTX; the RX 580 is ROCm's number 1."""
    rx580 = FakeCard(
        "0000:0a:00.0", 0x67DF, 0xE7, gfx=80003, vram_gib=8, codename="polaris10",
        way="pci0000:00/0000:00:03.1", minor=129,
    )  # fmt: skip
    return box([replace(XTX, unique_id=0x1234), rx580])


def old_kernel() -> dict:
    """2 x MI50 on a kernel of which KFD tells neither unique ids, gfx versions nor domains."""
    card = FakeCard(
        "0000:43:00.0", 0x66A1, 0x06, unique_id=0x2160_0000_0000_0001, old=True, vram_gib=32,
        codename="vega20", board=None, mem_busy=None, state=None, way="pci0000:40/0000:40:03.1",
        links=((0, PCIE, 0),),
    )  # fmt: skip
    other = replace(
        card,
        address="0000:c3:00.0",
        unique_id=0x2160_0000_0000_0002,
        way="pci0000:c0/0000:c0:03.1",
        minor=129,
    )
    return box([card, other])


BOXES = {
    "4 x MI300X": four_mi300x,
    "2 x RX 7900 XTX": two_xtx,
    "a laptop": laptop,
    "a partitioned MI300X": partitioned,
    "a card without unique id": without_unique_id,
    "an old kernel": old_kernel,
}
