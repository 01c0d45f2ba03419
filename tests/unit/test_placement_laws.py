"""Placement by law: what holds for every configuration on every machine."""

from itertools import combinations, count
from types import SimpleNamespace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ollama_fleet.config import Config
from ollama_fleet.errors import PlacementError
from ollama_fleet.gpu import Gpu, GpuKind, Inventory, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.placement import Models, Placement, place
from ollama_fleet.placement.environment import is_inherited
from ollama_fleet.placement.needs import rule_of_thumb
from ollama_fleet.placement.shares import deal, room_bytes

GIB = 2**30
INHERITABLE = ("PATH", "LC_X", "SECRET", "LLAMA_X")
MODELS = ("m0", "m1", "m2")
SET_BY_US = {
    "OLLAMA_HOST", "OLLAMA_MODELS", "OLLAMA_NOPRUNE", "OLLAMA_MAX_QUEUE", "OLLAMA_VULKAN",
    "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
}  # fmt: skip
SET_BY_DEFAULTS = {
    "OLLAMA_NUM_PARALLEL", "OLLAMA_CONTEXT_LENGTH", "OLLAMA_KEEP_ALIVE", "OLLAMA_FLASH_ATTENTION",
    "OLLAMA_MAX_LOADED_MODELS", "OLLAMA_IGPU_ENABLE",
}  # fmt: skip

gpu_facts = st.tuples(
    st.sampled_from([8, 16, 24, 80]),
    st.sampled_from([Vendor.NVIDIA, Vendor.NVIDIA, Vendor.NVIDIA, Vendor.AMD]),
    st.sampled_from([GpuKind.DISCRETE, GpuKind.DISCRETE, GpuKind.INTEGRATED]),
    st.integers(0, 2),
)


@st.composite
def inventories(draw, facts=gpu_facts):
    drawn = draw(st.lists(facts, max_size=7))
    return Inventory(
        tuple(
            Gpu(f"GPU-{i:04x}", i, f"card {gib}", vendor, gib * GIB, kind=kind, reserved_bytes=r)
            for i, (gib, vendor, kind, r) in enumerate(drawn)
        )
    )


@st.composite
def fleets(draw):
    """A machine, groups for it that name each GPU once at most, and sizes of some models."""
    inventory = draw(inventories())
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True))
    owners = draw(st.lists(st.sampled_from(names), min_size=7, max_size=7))
    auto = draw(st.sampled_from([*names, None]))
    groups = []
    for name in names:
        of_group = [g for g, owner in zip(inventory.gpus, owners, strict=False) if owner == name]
        refs = [draw(st.sampled_from([gpu.index, gpu.uuid])) for gpu in of_group]
        groups.append(
            {
                "name": name,
                "gpus": "auto" if name == auto else refs,
                "count": draw(st.integers(1, 4)),
                "models": draw(st.lists(st.sampled_from(MODELS), unique=True)),
                "cpu_offload": True,  # what is refused proves nothing here: test_fits.py
                "max_loaded_models": 1,
                "env": draw(st.dictionaries(st.sampled_from(["MINE", "PATH"]), st.just("1"))),
            }
        )
    wishes = {
        model: {
            "groups": draw(st.lists(st.sampled_from(names), unique=True)),
            "preload": draw(st.booleans()),
            "replicas": draw(st.none() | st.integers(1, 5)),
        }
        for model in draw(st.lists(st.sampled_from(MODELS), unique=True))
    }
    sizes = draw(st.dictionaries(st.sampled_from(MODELS), st.integers(1, 120).map(GIB.__mul__)))
    return SimpleNamespace(
        inventory=inventory,
        config={"groups": groups, "models": wishes},
        sizes={canonical(model): size for model, size in sizes.items()},
        inherited=draw(st.dictionaries(st.sampled_from(INHERITABLE), st.just("0"))),
    )


def placed(fleet: SimpleNamespace) -> Placement:
    """What the fleet comes to; fleets that are refused prove nothing here."""
    try:
        return place(
            Config.model_validate(fleet.config),
            fleet.inventory,
            ports=count(11434),
            inherited=fleet.inherited,
            models=Models(fleet.sizes),
        )
    except PlacementError as error:
        assume("two vendors" not in str(error))
        raise


@settings(max_examples=30)
@given(fleets())
def test_no_gpu_has_two_instances_unless_they_say_so(fleet):
    placement = placed(fleet)
    for one, other in combinations(placement.instances, 2):
        if set(one.gpus) & set(other.gpus):
            assert one.group == other.group
            assert all("shares them" in "".join(spec.reasons) for spec in (one, other))


@settings(max_examples=30)
@given(fleets())
def test_every_gpu_is_placed_or_noted(fleet):
    placement = placed(fleet)
    placed_uuids = {gpu.uuid for spec in placement.instances for gpu in spec.gpus}
    for gpu in fleet.inventory.gpus:
        noted = any(f"GPU {gpu.index} " in note and "idle" in note for note in placement.notes)
        assert (gpu.uuid in placed_uuids) != noted


@settings(max_examples=30)
@given(fleets())
def test_the_same_input_gives_the_same_output(fleet):
    assert placed(fleet) == placed(fleet)


@settings(max_examples=30)
@given(fleets(), st.randoms(use_true_random=False))
def test_the_order_of_groups_and_models_changes_only_the_order_of_instances(fleet, rng):
    before = placed(fleet)
    rng.shuffle(fleet.config["groups"])
    models = list(fleet.config["models"].items())
    rng.shuffle(models)
    fleet.config["models"] = dict(models)
    after = placed(fleet)
    assert after.routes == before.routes
    assert set(after.notes) == set(before.notes)
    assert {(s.name, s.port, s.gpus, frozenset(s.preload)) for s in after.instances} == {
        (s.name, s.port, s.gpus, frozenset(s.preload)) for s in before.instances
    }
    names = [group["name"] for group in fleet.config["groups"]]
    order = [names.index(spec.group) for spec in after.instances]
    assert order == sorted(order)


@settings(max_examples=30)
@given(fleets())
def test_names_and_ports_are_distinct(fleet):
    instances = placed(fleet).instances
    assert len({spec.name for spec in instances}) == len(instances)
    assert len({spec.port for spec in instances} | {11434}) == len(instances) + 1


@settings(max_examples=30)
@given(fleets())
def test_an_instance_sees_its_own_gpus_and_known_variables_only(fleet):
    config = {group["name"]: group for group in fleet.config["groups"]}
    for spec in placed(fleet).instances:
        theirs = set(config[spec.group]["env"])
        known = SET_BY_US | SET_BY_DEFAULTS | theirs
        assert all(name in known or is_inherited(name) for name in spec.environment)
        assert "SECRET" not in spec.environment
        shown = ",".join(
            spec.environment[name] for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
        ).split(",")
        assert {uuid for uuid in shown if uuid != "-1"} == {gpu.uuid for gpu in spec.gpus}


@settings(max_examples=30)
@given(fleets())
def test_a_model_runs_only_where_it_is_routed(fleet):
    """Preloads and pins never stand where a request for the model would not go."""
    placement = placed(fleet)
    names = {spec.name for spec in placement.instances}
    for key, allowed in placement.routes.items():
        assert allowed <= names
        for spec in placement.instances:
            asked = key in spec.pinned or key in map(canonical, spec.preload)
            assert spec.name in allowed or not asked


@settings(max_examples=30)
@given(fleets())
def test_gpus_are_taken_together_only_for_a_model_that_needs_them_all(fleet):
    """No GPU of such a set could be spared for the largest pinned model that fits at all."""
    auto = {g["name"]: g for g in fleet.config["groups"] if g["gpus"] == "auto"}
    specs = placed(fleet).instances
    for spec in specs:
        if spec.group in auto and len(spec.gpus) > 1:
            instances = auto[spec.group]["count"]
            needs = [rule_of_thumb(fleet.sizes[key]) for key in spec.pinned if key in fleet.sizes]
            alike = {gpu for s in specs if s.group == spec.group for gpu in s.gpus}
            pool = [gpu for gpu in alike if gpu.vendor is spec.gpus[0].vendor]
            need = max(need for need in needs if need * instances <= room_bytes(pool))
            for fewer in combinations(spec.gpus, len(spec.gpus) - 1):
                assert room_bytes(fewer) / instances < need <= room_bytes(spec.gpus) / instances


@given(inventories(), st.integers(0, 200).map(GIB.__mul__))
def test_dealing_loses_no_gpu_and_leaves_no_set_behind(inventory, need):
    """Each GPU is in one set; what is left over alone could not hold the model even together."""
    sets = deal(inventory.gpus, lambda _gpus: need)
    assert sorted(gpu.index for together in sets for gpu in together) == [
        gpu.index for gpu in inventory.gpus
    ]
    left = [gpu for together in sets if room_bytes(together) < need for gpu in together]
    assert not left or room_bytes(left) < need
    assert all(len(together) == 1 for together in sets if room_bytes(together) < need)


@settings(max_examples=30)
@given(st.integers(0, 2**50))
def test_a_model_needs_a_fifth_more_than_its_size(size):
    assert rule_of_thumb(size) * 5 >= size * 6 > (rule_of_thumb(size) - 1) * 5


@pytest.mark.parametrize("number", range(1, 12))
def test_runs_of_named_gpus_are_as_even_as_can_be(number):
    """Sizes of runs, or users of a GPU, never differ by more than one."""
    inventory = Inventory(tuple(Gpu(f"GPU-{i}", i, "card", Vendor.NVIDIA, GIB) for i in range(5)))
    config = {"groups": [{"name": "a", "gpus": [0, 1, 2, 3, 4], "count": number}]}
    placement = placed(SimpleNamespace(inventory=inventory, config=config, sizes={}, inherited={}))
    runs = [spec.gpus for spec in placement.instances]
    users = [sum(gpu in run for run in runs) for gpu in inventory.gpus]
    assert len(runs) == number
    assert max(users) - min(users) <= 1
    assert max(map(len, runs)) - min(map(len, runs)) <= 1
