"""What a card is called: by the list that AMD's user-space driver comes with, or by its maker."""

from typing import Final

from ollama_fleet.gpu import sysfs
from ollama_fleet.gpu.amd.cards import Card
from ollama_fleet.gpu.amd.nodes import Node
from ollama_fleet.gpu.amd.tree import Tree

_MOST_BYTES: Final = 1 << 20  # of a list of some hundred lines
_MAKERS: Final = ("amd", "radeon", "instinct")
_UNKNOWN_CODENAME: Final = "ip discovery"  # since the driver knows cards by their parts
Names = dict[tuple[int, int], str]
"""Marketing names by device id and revision."""


def read_names(tree: Tree) -> Names:
    """The names of libdrm's `amdgpu.ids`: lines `744C, C8, AMD Radeon RX 7900 XTX`."""
    found: Names = {}
    for path in tree.names:
        for line in (sysfs.text(path, _MOST_BYTES) or "").splitlines():
            device, _, rest = line.partition(",")
            revision, _, name = rest.partition(",")
            try:
                key = int(device, 16), int(revision, 16)
            except ValueError:  # a comment, the version of the list
                continue
            if name := sysfs.legible(name):
                found.setdefault(key, name)
    return found


def card_name(names: Names, card: Card, node: Node) -> str:
    """A name for people, of the list or of the board, else the kind of chip: AMD gfx942 (0x74a1).

    Boards tell part numbers, too: only what has a maker's name in it is taken for a name.
    """
    known = names.get((card.device_id, card.revision), "")
    if known:
        return known
    if any(word in card.product.lower() for word in _MAKERS):
        return card.product
    codename = "" if node.codename == _UNKNOWN_CODENAME else node.codename
    kind = node.architecture or codename or "GPU"
    return f"AMD {kind} (0x{card.device_id:04x})" if card.device_id else f"AMD {kind}"
