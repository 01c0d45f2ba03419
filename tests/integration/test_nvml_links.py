"""How cards are joined, against a stand-in for the driver's library: NVLink, PCIe, NUMA nodes."""

import itertools

import pytest
from fleet_process import until
from nvml_fixtures import Machine, library, slice_uuid, uuid

__all__ = ["library"]

_PCIE_4_X16 = 31507692308  # 16 lanes of 16 GT/s, 128b/130b
_SPEED = 14062


@pytest.fixture(scope="module")
def machine(library, tmp_path_factory):
    made = Machine(tmp_path_factory.mktemp("machine"), library)
    yield made
    assert made.end() == 0


def _links(machine):
    """By the UUIDs of both: the kind and the bandwidth."""
    return {
        (gpu["uuid"], link["uuid"]): (link["kind"], link["bandwidth_bytes_per_s"])
        for gpu in machine.ask("inventory")["gpus"]
        for link in gpu["links"]
    }


def _mesh(cards, links):
    return [f"nvlink {card} {link} switch" for card in range(cards) for link in range(links)]


def _pair(one, other, links=4):
    for link in range(links):
        yield f"nvlink {one} {link} {other}"
        yield f"nvlink {other} {link} {one}"


def test_two_cards_with_a_bridge_between_them_are_joined_by_all_its_links(machine):
    """As two RTX 3090: four links of 14.062 GB/s each way. The third card is on PCIe."""
    speeds = [f"nvlink-speed {card} {_SPEED}" for card in (0, 1)]
    machine.becomes(*_pair(0, 1), *speeds, "pcie 2 3 8", "ancestor 1 2 50")
    links = _links(machine)
    assert links[uuid(0), uuid(1)] == links[uuid(1), uuid(0)] == ("nvlink", 56_248_000_000)
    assert links[uuid(0), uuid(2)] == ("bridge", 7876923077)
    assert links[uuid(2), uuid(1)] == ("socket", 7876923077)


@pytest.mark.parametrize("ends", [(1, 63), (63, 0)], ids=["first", "second"])
def test_a_link_that_only_one_end_tells_of_joins_both_at_the_speed_of_the_slower(machine, ends):
    speeds = ("nvlink-speed 0 50000", "nvlink-speed 1 25000")
    rules = [f"nvlink {card} 0 {end}" for card, end in enumerate(ends)]
    machine.becomes(*rules, *speeds, "p2p 0 1 5", cards=2)
    links = _links(machine)
    assert links[uuid(0), uuid(1)] == links[uuid(1), uuid(0)] == ("nvlink", 25_000_000_000)


def test_behind_nvswitches_every_pair_is_joined_by_all_links(machine):
    """As eight H100: 18 links of NVLink 4 each, wherever the cards are on PCIe."""
    far = [f"ancestor {a} {b} 50" for a in range(4) for b in range(4, 8)]
    versions = [f"nvlink-version {card} 6" for card in range(8)]
    machine.becomes(*_mesh(8, 18), *far, *versions, cards=8)
    links = _links(machine)
    pairs = set(itertools.permutations([uuid(card) for card in range(8)], 2))
    assert links.keys() == pairs
    assert set(links.values()) == {("nvlink", 18 * 25_000_000_000)}


def test_cards_that_the_switches_keep_apart_are_not_joined(machine):
    """As where a machine is divided among tenants: NVML knows whom a card reaches."""
    machine.becomes(*_mesh(2, 2), "p2p 0 1 5", "nvlink-version * 6", cards=2)
    assert _links(machine)[uuid(0), uuid(1)] == ("bridge", _PCIE_4_X16)


def test_links_to_a_processor_join_no_cards(machine):
    """As on POWER9, where all links of a card may end at one."""
    machine.becomes("nvlink 0 0 cpu", "nvlink 1 0 cpu", "nvlink-version * 3", cards=2)
    assert _links(machine)[uuid(0), uuid(1)] == ("bridge", _PCIE_4_X16)


def test_an_older_driver_does_not_say_what_a_link_ends_at(machine):
    """Then NVML's word on whom a card reaches decides, and without it nobody is joined."""
    mesh = [*_mesh(2, 2), "nvlink-version * 3", "nvmlDeviceGetNvLinkRemoteDeviceType * 13"]
    machine.becomes(*mesh, cards=2)
    assert _links(machine)[uuid(0), uuid(1)] == ("nvlink", 2 * 25_000_000_000)
    machine.becomes(*mesh, "nvmlDeviceGetP2PStatus * 13", cards=2)
    assert _links(machine)[uuid(0), uuid(1)][0] == "bridge"
    machine.becomes(*_pair(0, 1), *mesh[-2:], "nvmlDeviceGetP2PStatus * 13", cards=2)
    assert _links(machine)[uuid(0), uuid(1)][0] == "nvlink"


@pytest.mark.parametrize(("status", "kind"), [(0, "nvlink"), (5, "bridge")])
def test_in_a_virtual_machine_the_cards_at_the_ends_have_other_addresses(machine, status, kind):
    """NVML tells those of the host: then its word on whom a card reaches decides."""
    machine.becomes("nvlink 0 0 63", "nvlink 1 0 62", f"p2p 0 1 {status}", cards=2)
    assert _links(machine)[uuid(0), uuid(1)][0] == kind


def test_a_speed_that_nobody_tells_is_unknown_not_made_up(machine):
    machine.becomes(*_pair(0, 1), "nvmlDeviceGetMaxPcieLinkWidth * 3")
    links = _links(machine)
    assert links[uuid(0), uuid(1)] == ("nvlink", 0)
    assert links[uuid(0), uuid(2)] == ("bridge", 0)


@pytest.mark.parametrize(
    ("level", "kind"),
    [(0, "switch"), (10, "switch"), (20, "switch"), (30, "bridge"), (40, "node"), (50, "socket")],
)
def test_nvmls_levels_are_our_kinds(machine, level, kind):
    machine.becomes(f"ancestor 0 1 {level}", cards=2)
    assert _links(machine)[uuid(0), uuid(1)] == (kind, _PCIE_4_X16)


def test_without_nvmls_word_the_kernels_counts(machine):
    """Cards of which neither knows the place have no link."""
    machine.becomes("nvmlDeviceGetTopologyCommonAncestor * 3")
    machine.place(0, "pci0000:00/0000:00:01.0", node=0)
    machine.place(1, "pci0000:80/0000:80:01.0", node=1)
    assert _links(machine) == {
        (uuid(0), uuid(1)): ("socket", _PCIE_4_X16),
        (uuid(1), uuid(0)): ("socket", _PCIE_4_X16),
    }


def test_a_slice_is_as_near_as_its_card_but_has_no_nvlink(machine):
    """Cards in MIG mode do not reach each other over NVLink."""
    machine.becomes(
        *_pair(0, 1),
        "mig 0 1 1",
        "slice 0 1 0 100",
        "slice 0 2 0 100",
        "ancestor 0 1 20",
        cards=2,
    )
    links = _links(machine)
    one, other = slice_uuid(0, 1), slice_uuid(0, 2)
    assert links == {
        (uuid(1), one): ("switch", _PCIE_4_X16),
        (uuid(1), other): ("switch", _PCIE_4_X16),
        (one, uuid(1)): ("switch", _PCIE_4_X16),
        (other, uuid(1)): ("switch", _PCIE_4_X16),
        (one, other): ("switch", 0),
        (other, one): ("switch", 0),
    }


def test_sixteen_cards_each_name_the_fifteen_others_once(machine):
    machine.becomes(*_mesh(16, 6), "nvlink-speed * 25781", cards=16)
    for gpu in machine.ask("inventory")["gpus"]:
        named = [link["uuid"] for link in gpu["links"]]
        assert len(named) == len(set(named)) == 15
        assert gpu["uuid"] not in named


def test_a_card_that_is_lost_while_links_are_asked_for_is_listed_without(machine):
    """What is wrong with it, its readings tell."""
    machine.becomes(*_pair(0, 1), "nvmlDeviceGetNvLinkState 1 15", "nvlink-speed 0 1000", cards=2)
    answer = machine.ask("inventory")
    assert [gpu["index"] for gpu in answer["gpus"]] == [0, 1]
    assert [link["kind"] for gpu in answer["gpus"] for link in gpu["links"]] == ["nvlink", "nvlink"]


def test_a_driver_that_hangs_over_its_links_is_a_note_and_is_asked_again(machine):
    machine.becomes(*_pair(0, 1), "nvmlDeviceGetNvLinkRemotePciInfo_v2 1 hang", cards=2)
    (note,) = machine.ask("inventory", timeout_s=0.3)["notes"]
    assert "has not answered for" in note
    machine.becomes(cards=2)
    until(lambda: machine.ask("inventory")["gpus"], what="the list")
    assert len(_links(machine)) == 2
