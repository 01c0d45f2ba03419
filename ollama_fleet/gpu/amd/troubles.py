"""Why AMD's cards cannot be used, or not all of them, and what to do about it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ollama_fleet.gpu import sysfs
from ollama_fleet.gpu.amd.cards import DRIVER, Card, is_in_processor, pci_cards
from ollama_fleet.gpu.amd.nodes import Node
from ollama_fleet.gpu.amd.tree import Tree

_CONTAINER: Final = "a container needs `--device /dev/kfd --device /dev/dri`"


def access_trouble(tree: Tree, nodes: Sequence[Node]) -> str:
    """Why this user cannot use ROCm at all; empty if nothing is in the way."""
    if not nodes:
        return ""
    wanted = [tree.dev / "kfd"]
    wanted += [tree.render_node(node.render_minor) for node in nodes if node.render_minor]
    for path in wanted:
        if not sysfs.exists(path):
            return f"there are AMD cards, but no {path} to use them by ({_CONTAINER})"
        if not tree.may_open(path):
            return (
                f"there are AMD cards, but this user may not open {path} ({_joining(path)};"
                " a container needs `--group-add` with the number of that group)"
            )
    return ""


def _joining(path: Path) -> str:
    group = _group(path)
    return f"`sudo usermod -aG {group} $USER`, then log in anew" if group else "give it the right"


def _group(path: Path) -> str:
    """The group that may open a device node; empty if it is root's, or if nobody knows it here."""
    try:
        group = path.group()
    except (OSError, KeyError):
        return ""
    return "" if group == "root" else group


def left_out(tree: Tree, cards: Sequence[Card]) -> Iterator[str]:
    """A note for each AMD card on the PCI bus that ROCm does not know, and why.

    Nothing is said of cards that another driver has for a purpose, as a virtual machine's, nor of
    the graphics part of a processor that ROCm does not support: nobody misses those.
    """
    known = {card.address for card in cards}
    for address in pci_cards(tree):
        device = tree.pci / address
        driver = sysfs.target(device / "driver")
        if address in known or driver not in {"", DRIVER}:
            continue
        if not driver:
            yield (
                f"the AMD card at {address} has no driver"
                " (`sudo modprobe amdgpu` loads it, and `dmesg` says why it cannot)"
            )
        elif not sysfs.exists(tree.kfd):
            yield (
                f"the AMD card at {address} cannot be used for models: the kernel is built without"
                " KFD (CONFIG_HSA_AMD), ROCm's part of the driver"
            )
        elif not is_in_processor(device):
            yield (
                f"the AMD card at {address} cannot be used for models: ROCm's driver does not"
                f" support it, or this container has no part in it (`dmesg` says; {_CONTAINER})"
            )


def partition_remarks(cards: Sequence[Card]) -> Iterator[str]:
    """A remark for each card that is divided: its partitions are listed, not the card itself."""
    for card in cards:
        if card.is_divided:
            told = ", ".join(filter(None, card.modes))
            count = len(card.nodes)
            parts = f"{count} partitions are GPUs" if count > 1 else "one partition is a GPU"
            yield (
                f"the AMD card at {card.address} is divided{f' ({told})' if told else ''}:"
                f" {parts} of {'their' if count > 1 else 'its'} own"
            )
