"""`fleet plan`: what its table says of a placement."""

import re
from dataclasses import fields, replace
from types import SimpleNamespace

from ollama_fleet.cli.commands.plan import document, show
from ollama_fleet.config import Config
from ollama_fleet.gpu import Gpu, GpuKind, GpuLink, Inventory, Vendor
from ollama_fleet.placement import InstanceSpec, Models, place

CARD = Gpu("GPU-0", 0, "NVIDIA L4", Vendor.NVIDIA, 24 * 2**30)


def prepared(config, *gpus):
    inventory = Inventory(gpus, ())
    placement = place(
        Config.model_validate(config),
        inventory,
        ports=iter(range(11435, 11500)),
        inherited={"PATH": "/bin"},
        models=Models(),
    )
    return SimpleNamespace(
        placement=placement,
        inventory=inventory,
        config=Config.model_validate(config),
        simulated="",
        argv=("ollama", "serve"),
    )


def models_of(config):
    """The MODELS cell of the one instance that a configuration has on one card."""
    return re.split(r" +", show(prepared(config, CARD), wide=False).splitlines()[1])[-1]


def test_a_model_stands_once_however_many_reasons_bind_it():
    """Pinned and preloaded, under whichever of its names: it is one model, as the file names it."""
    config = {
        "groups": [{"name": "a", "gpus": "auto", "models": ["nomic-embed-text"]}],
        "models": {"nomic-embed-text:latest": {"preload": True}, "qwen3:8b": {"preload": True}},
    }
    assert models_of(config) == "nomic-embed-text,qwen3:8b"


def test_an_instance_without_models_says_so():
    assert models_of({}) == "-"


def test_the_environment_of_instances_is_shown_to_those_who_ask_for_more():
    plan = prepared({}, CARD)
    assert "PATH=/bin" in show(plan, wide=True)
    assert "PATH" not in show(plan, wide=False)


def test_programs_are_told_all_that_is_known_of_a_gpu():
    gpu = replace(
        CARD,
        vendor=Vendor.AMD,
        driver="6.10",
        kind=GpuKind.SLICE,
        parent_uuid="GPU-9",
        pci_bus_id="0000:0a:00.0",
        numa_node=1,
        cpus=(2, 3),
        display_active=True,
        links=(GpuLink("GPU-1", "xgmi", 64), GpuLink("GPU-2", "node")),
        reserved_bytes=5,
        architecture="gfx942",
        visible_as="7",
    )
    told, plain = document(prepared({}, gpu, replace(CARD, uuid="GPU-1", index=1)))["gpus"]
    links = [
        {"uuid": "GPU-1", "kind": "xgmi", "bandwidth_bytes_per_s": 64},
        {"uuid": "GPU-2", "kind": "node", "bandwidth_bytes_per_s": None},
    ]
    facts = {field.name: getattr(gpu, field.name) for field in fields(Gpu)}
    assert told == {**facts, "vendor": "amd", "kind": "slice", "cpus": [2, 3], "links": links}
    nulls = {name for name, value in plain.items() if value is None}
    assert nulls == {"architecture", "numa_node", "parent_uuid"}
    assert plain["visible_as"] == "GPU-1"


def test_programs_are_told_all_of_an_instance():
    config = {
        "groups": [{"name": "a", "weight": 2, "num_parallel": 3}],
        "instances": [{"name": "attic", "url": "http://attic.lan:99"}],
    }
    plan = prepared(config, CARD)
    near = replace(plan.placement.instances[0], cpus=(1, 2), memory_nodes=(0,))
    plan.placement = replace(plan.placement, instances=(near, plan.placement.instances[1]))
    ours, external = document(plan)["instances"]
    assert {*ours} == {field.name for field in fields(InstanceSpec)} - {"host"}
    assert (ours["cpus"], ours["memory_nodes"], ours["gpus"]) == ([1, 2], [0], ["GPU-0"])
    assert (ours["slots"], ours["most_slots"], ours["weight"]) == (3, 3, 2.0)
    assert ours["environment"]["PATH"] == "/bin"
    assert ours["reasons"] == list(near.reasons)
    assert (external["external"], external["url"]) == (True, "http://attic.lan:99")
    assert external["most_slots"] > external["slots"]
    assert external["weight"] is None
