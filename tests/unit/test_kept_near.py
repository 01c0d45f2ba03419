"""A fleet's instances on the nodes of its machine, or of the box that is simulated."""

import pytest

from ollama_fleet.config import Config
from ollama_fleet.fleet import binding
from ollama_fleet.fleet.binding import heeds_threads, kept_near
from ollama_fleet.gpu import Gpu, Inventory, Vendor
from ollama_fleet.numa import NumaNode, Topology
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.placement.binding import THREADS

CARDS = tuple(
    Gpu(f"GPU-{n}", n, "L4", Vendor.NVIDIA, 2**30, numa_node=n, cpus=(2 * n, 2 * n + 1))
    for n in range(2)
)
HERE = Topology(
    nodes=(NumaNode(0, (4, 5)), NumaNode(1, (6, 7))),
    cores=((4, 5), (6, 7)),
    sockets=((4, 5), (6, 7)),
    allowed_cpus=frozenset({4, 5, 6, 7}),
    allowed_nodes=frozenset({0, 1}),
)
PLACED = Placement(
    tuple(InstanceSpec(f"gpu-{n}", "gpu", "h", 1, 1, "/", gpus=(CARDS[n],)) for n in range(2))
)


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(binding, "_machine", lambda: HERE)


def kept(argv=(), *, simulated=False):
    return kept_near(PLACED, Config(), Inventory(CARDS, simulated=simulated), argv).instances


@pytest.mark.usefixtures("here")
def test_a_real_fleet_is_bound_on_this_machine():
    assert [spec.cpus for spec in kept()] == [(4, 5), (6, 7)]


@pytest.mark.usefixtures("here")
def test_a_simulated_fleet_is_planned_on_the_box_of_its_gpus():
    assert [spec.cpus for spec in kept(simulated=True)] == [(0, 1), (2, 3)]


def installed(root, *, server):
    program = root / "bin/ollama"
    program.parent.mkdir(parents=True)
    program.touch()
    if server:
        file = root / "lib/ollama/llama-server"
        file.parent.mkdir(parents=True)
        file.touch()
    return program


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("server", [True, False])
def test_runners_are_told_their_threads_where_they_are_llama_servers(server, tmp_path):
    program = installed(tmp_path, server=server)
    found = [spec.environment.get(THREADS) for spec in kept((str(program), "serve"))]
    assert found == (["1", "1"] if server else [None, None])


def test_an_installation_is_found_through_a_link_to_its_program(tmp_path):
    """As /usr/local/bin/ollama often is one; a fleet without a program has none."""
    link = tmp_path / "ollama"
    link.symlink_to(installed(tmp_path / "opt", server=True))
    assert heeds_threads((str(link), "serve"))
    assert not heeds_threads(())
