"""What the kernel tells of a device in its files, whatever the vendor: text, numbers, nearness.

No file is sure to be there, to be readable or to be well formed, and a device may go away while it
is read: what cannot be had is None or empty, and nothing here raises.
"""

import os
from pathlib import Path
from typing import Final

from ollama_fleet.numa import parse_list

_MOST_BYTES: Final = 8192  # the kernel gives a page of 4096 at most
_BITS: Final = 64  # of the largest number that the kernel writes
_AT_ONCE: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # never waits for a pipe's other end


def text(path: Path, most_bytes: int = _MOST_BYTES) -> str | None:
    """The content of a file without the blanks around it; None where it cannot be read."""
    content = raw(path, most_bytes)
    return None if content is None else content.decode(errors="replace").strip()


def line(path: Path) -> str:
    """The content of a file for people; empty where it cannot be read."""
    return legible(text(path) or "")


def legible(word: str) -> str:
    """A word on one line, with blanks for what is not to be printed: a board may be damaged."""
    shown = (c if c.isprintable() and c != "\ufffd" else " " for c in word)
    return " ".join("".join(shown).split())


def raw(path: Path, most_bytes: int = _MOST_BYTES) -> bytes | None:
    """The first bytes of a file; None where it cannot be read."""
    try:
        file = os.open(path, _AT_ONCE)
    except (OSError, ValueError):  # ValueError: a NUL in a path that was built from a file
        return None
    try:
        return os.read(file, most_bytes)
    except OSError:
        return None
    finally:
        os.close(file)


def exists(path: Path) -> bool:
    """Whether there is something at this path; not if nobody may look."""
    return os.path.exists(path)  # noqa: PTH110 - that of a Path raises where a folder is closed


def number(path: Path) -> int | None:
    """The whole number in a file, decimal or with 0x; None where there is none."""
    return parse_number(text(path) or "")


def parse_number(word: str) -> int | None:
    """A whole number of 64 bits as the kernel writes it, decimal or with 0x; None for all else."""
    try:
        value = int(word, 16 if word.lower().startswith("0x") else 10)
    except ValueError:
        return None
    return value if value.bit_length() <= _BITS else None


def properties(path: Path) -> dict[str, int]:
    """The lines `name number` of a file; lines of another form are left out."""
    found = {}
    for line in (text(path) or "").splitlines():
        name, _, value = line.strip().partition(" ")
        known = parse_number(value.strip())
        if known is not None:
            found[name.rstrip(":")] = known
    return found


def names(folder: Path) -> list[str]:
    """The names in a folder, sorted, numbers by their value; none where it cannot be listed."""
    try:
        found = os.listdir(folder)  # noqa: PTH208 - names are wanted, not paths, each second
    except (OSError, ValueError):
        return []
    return sorted(found, key=lambda name: (parse_number(name) is None, _order(name), name))


def target(link: Path) -> str:
    """The last name of what a link points to, as of `driver`; empty where it is none."""
    try:
        return link.readlink().name
    except (OSError, ValueError):
        return ""


def numa_node(device: Path) -> int | None:
    """The NUMA node whose memory is nearest to a device; None where the kernel does not say."""
    node = number(device / "numa_node")
    return node if node is not None and node >= 0 else None


def nearest_cpus(device: Path) -> tuple[int, ...]:
    """The CPUs nearest to a device; none where the kernel does not say."""
    return parse_list(text(device / "local_cpulist") or "")


def nearness(one: Path, other: Path) -> str:
    """How near two PCI devices are, in the words of `GpuLink.kind`; empty if nobody knows.

    From where the kernel has them: `/sys/devices/pci0000:00/<root port>/.../<device>`. Two that
    share a root port can do so only behind a switch.
    """
    nodes = numa_node(one), numa_node(other)
    here, there = _way(one), _way(other)
    if here and there and here[0] == there[0]:
        return "switch" if here[1:2] == there[1:2] else "bridge"
    if None in nodes:
        return ""
    return "node" if nodes[0] == nodes[1] else "socket"


def _way(device: Path) -> list[str]:
    """The host bridge, the ports and the device itself; none for what is not on a PCI bus."""
    try:
        parts = device.resolve().parts
    except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle
        return []
    roots = [i for i, part in enumerate(parts) if part.startswith("pci") and ":" in part]
    return list(parts[roots[0] :]) if roots else []


def _order(name: str) -> int:
    return parse_number(name) or 0
