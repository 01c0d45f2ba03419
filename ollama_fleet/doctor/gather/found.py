"""What is on the machine already: cards on its bus, and instances that a fleet has left."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from ollama_fleet.control.orphans import Action, RunRecord, decide, parse_record
from ollama_fleet.control.processes import boot_id, find_process, living_members

PCI: Final = Path("/sys/bus/pci/devices")
_NVIDIA: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"  # VGA and 3D controllers


def nvidia_cards(devices: Path) -> int:
    """NVIDIA cards on the PCI bus, whether a driver runs them or not."""
    return sum(
        _read(device / "vendor") == _NVIDIA and _read(device / "class").startswith(_DISPLAY_CLASS)
        for device in devices.glob("*")
    )


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""


def running(runs: Path) -> Iterator[RunRecord]:
    """The instances with a run record of which something is alive."""
    boot, paths = boot_id(), list[Path]()
    with suppress(OSError):  # a folder of another user's
        paths = sorted(runs.glob("*.json"))
    for path in paths:
        with suppress(OSError, ValueError):
            record = parse_record(path.read_text(encoding="utf-8"))
            leader, members = find_process(record.pid), living_members(record.pid)
            if decide(record, leader, members, boot) is not Action.FORGET:
                yield record
