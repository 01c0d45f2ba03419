"""AMD's cards through the files of the kernel's driver, amdgpu with KFD: no library is needed.

What ROCm can use is what KFD lists; all else of a card stands in the files of its PCI device.
"""

from ollama_fleet.gpu import GpuSample, Inventory, sysfs
from ollama_fleet.gpu.amd.cards import read_cards
from ollama_fleet.gpu.amd.faults import Faults
from ollama_fleet.gpu.amd.heat import Heat
from ollama_fleet.gpu.amd.listing import Listed, Place, list_gpus
from ollama_fleet.gpu.amd.names import read_names
from ollama_fleet.gpu.amd.nodes import read_nodes
from ollama_fleet.gpu.amd.processes import read_holders
from ollama_fleet.gpu.amd.reading import look
from ollama_fleet.gpu.amd.tree import Tree
from ollama_fleet.gpu.amd.troubles import access_trouble, left_out, partition_remarks


class AmdGpus:
    """All AMD GPUs that ROCm can use here: a `GpuSource`.

    Calls may block on a driver in trouble, and come from one thread at a time. `tree` is where the
    kernel shows its devices.
    """

    def __init__(self, tree: Tree | None = None) -> None:
        self._tree = tree or Tree()
        self._cards: tuple[tuple[Listed, ...], ...] | None = None  # so that a lost one has a name
        self._heat, self._faults = Heat(), Faults()

    def inventory(self) -> Inventory:
        """List the GPUs in ROCm's order. Nothing is said where there is no AMD card."""
        tree = self._tree
        nodes = read_nodes(tree)
        cards = read_cards(tree, nodes)
        remarks = tuple(partition_remarks(cards))
        troubles = tuple(left_out(tree, cards))
        closed = access_trouble(tree, nodes)
        if closed:
            self._cards = ()
            return Inventory(notes=(closed, *troubles))
        listed = list_gpus(
            cards,
            read_names(tree),
            driver=sysfs.line(tree.sys / "module" / "amdgpu" / "version"),
            place=lambda device: Place(sysfs.numa_node(device), sysfs.nearest_cpus(device)),
            nearness=sysfs.nearness,
        )
        self._cards = tuple(tuple(one for one in listed if one.card is card) for card in cards)
        gpus = tuple(one.gpu for one in listed)
        return Inventory(gpus=gpus, notes=(*remarks, *troubles), remarks=remarks)

    def read(self) -> GpuSample:
        """Read every GPU of the last list once; of a card with partitions, the card, too.

        A card that cannot be read is named in `error`.
        """
        if self._cards is None:
            self.inventory()
        cards = self._cards or ()
        gpu_ids = [part.node.gpu_id for parts in cards for part in parts]
        holders = read_holders(self._tree, gpu_ids) if cards else None
        seen = [look(parts, holders, self._heat, self._faults) for parts in cards]
        return GpuSample(
            readings=tuple(reading for one in seen for reading in one.readings),
            error="; ".join(one.trouble for one in seen if one.trouble),
        )

    def close(self) -> None:
        """Nothing is held."""


__all__ = ["AmdGpus", "Tree"]
