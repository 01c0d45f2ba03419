"""Placement by law on boxes of every make: links, NUMA nodes, slices, displays, two vendors."""

from dataclasses import replace
from itertools import combinations, count
from types import SimpleNamespace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ollama_fleet.config import Config
from ollama_fleet.errors import PlacementError
from ollama_fleet.gpu import Gpu, GpuKind, GpuLink, Inventory, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.placement import Models, place
from ollama_fleet.placement.closeness import KINDS, pairs

GIB = 2**30
BIG, SMALL = "big:70b", "small:8b"
VENDORS = [Vendor.NVIDIA, Vendor.NVIDIA, Vendor.AMD]
MAKES = [*[GpuKind.DISCRETE] * 4, GpuKind.SLICE, GpuKind.INTEGRATED, GpuKind.VIRTUAL]


@st.composite
def boxes(draw, makes=MAKES):
    number = draw(st.integers(1, 6))
    kinds = {
        pair: draw(st.sampled_from(KINDS)) for pair in combinations(range(number), 2)
    }  # fmt: skip
    return tuple(
        Gpu(
            f"GPU-{i:02d}",
            i,
            "card",
            draw(st.sampled_from(VENDORS)),
            draw(st.sampled_from([8, 24, 80])) * GIB,
            kind=draw(st.sampled_from(makes)),
            numa_node=draw(st.sampled_from([None, 0, 1])),
            display_active=draw(st.booleans()),
            reserved_bytes=draw(st.sampled_from([0, GIB // 2])),
            links=tuple(
                GpuLink(f"GPU-{j:02d}", kind) for (one, j), kind in kinds.items() if one == i
            ),
        )
        for i in range(number)
    )


@st.composite
def wishes(draw):
    """A group that takes what is left, beside one that may name a GPU."""
    auto = {"name": "auto", "count": draw(st.integers(1, 2))}
    auto["models"] = draw(st.sampled_from([[], [BIG], [SMALL], [BIG, SMALL]]))
    auto["gpu_overhead"] = draw(st.sampled_from([None, None, "2GiB"]))
    named = {"name": "named", "gpus": draw(st.sampled_from([[], [0]])), "models": []}
    sizes = {BIG: draw(st.integers(10, 150)) * GIB, SMALL: draw(st.integers(1, 20)) * GIB}
    return SimpleNamespace(
        config={"groups": [{k: v for k, v in auto.items() if v is not None}, named]}, sizes=sizes
    )


def placed(gpus, wish):
    """The plan; None where the fleet refuses what cannot fit."""
    try:
        return place(
            Config.model_validate(wish.config),
            Inventory(tuple(gpus)),
            ports=count(11435),
            inherited={},
            models=Models({canonical(model): size for model, size in wish.sizes.items()}),
        )
    except PlacementError as error:
        if "cannot hold" not in str(error):
            raise
        return None


def room(gpus, overhead=None):
    """Memory for models, from the facts alone; a display has a GiB where nobody says otherwise."""
    kept = [overhead if overhead is not None else GIB * gpu.display_active for gpu in gpus]
    return sum(gpu.memory_bytes - gpu.reserved_bytes - k for gpu, k in zip(gpus, kept, strict=True))


def need(size):
    """What a model takes of which only the size is known: a fifth more."""
    return -(-size * 6 // 5)


@settings(max_examples=25)
@given(boxes(), wishes())
def test_every_gpu_has_the_instances_of_one_group_or_is_told_to_be_idle(gpus, wish):
    plan = placed(gpus, wish)
    assume(plan is not None)
    for gpu in gpus:
        groups = {s.group for s in plan.instances if gpu.uuid in {g.uuid for g in s.gpus}}
        idle = any(f"GPU {gpu.index} " in note and "idle" in note for note in plan.notes)
        assert len(groups) + idle == 1
    for one, other in combinations(plan.instances, 2):
        shared = {g.uuid for g in one.gpus} & {g.uuid for g in other.gpus}
        assert not shared or one.gpus == other.gpus


@settings(max_examples=25)
@given(boxes(), wishes(), st.randoms(use_true_random=False))
def test_in_which_order_gpus_and_groups_come_decides_nothing(gpus, wish, rng):
    """Each instance has the same GPUs, for the same reasons."""

    def facts(plan):
        if plan is None:
            return None
        return {(s.name, s.port, s.gpus, s.pinned, s.reasons) for s in plan.instances}, set(
            plan.notes
        )

    before = facts(placed(gpus, wish))
    mixed = list(gpus)
    rng.shuffle(mixed)
    rng.shuffle(wish.config["groups"])
    assert facts(placed(mixed, wish)) == before


@settings(max_examples=25)
@given(boxes([GpuKind.DISCRETE, GpuKind.SLICE]), wishes())
def test_no_instance_has_a_pinned_model_that_does_not_fit_it(gpus, wish):
    """Displays, what somebody keeps, and others on the same GPUs counted.

    Of a model that would fit but for what is guessed there is a note.
    """
    plan = placed(gpus, wish)
    assume(plan is not None)
    overhead = 2 * GIB if "gpu_overhead" in wish.config["groups"][0] else None
    facts = {gpu.uuid: gpu for gpu in gpus}
    for spec in plan.instances:
        sharers = sum(other.gpus == spec.gpus for other in plan.instances)
        for key in spec.pinned:
            model, size = next(it for it in wish.sizes.items() if canonical(it[0]) == key)
            have = room([facts[gpu.uuid] for gpu in spec.gpus], overhead)
            assert size <= have / sharers
            assert need(size) <= have / sharers or any(model in note for note in plan.notes)


@settings(max_examples=25)
@given(boxes([GpuKind.DISCRETE, GpuKind.SLICE]), wishes())
def test_models_that_are_loaded_together_have_room_together(gpus, wish):
    """All that an instance loads at its start, whatever of their sizes is guessed."""
    plan = placed(gpus, wish)
    assume(plan is not None)
    overhead = 2 * GIB if "gpu_overhead" in wish.config["groups"][0] else None
    facts = {gpu.uuid: gpu for gpu in gpus}
    for spec in plan.instances:
        sharers = sum(other.gpus == spec.gpus for other in plan.instances)
        have = room([facts[gpu.uuid] for gpu in spec.gpus], overhead)
        assert sum(wish.sizes[model] for model in spec.preload) <= have / sharers


@settings(max_examples=25)
@given(boxes(), wishes(), st.randoms(use_true_random=False))
def test_a_group_that_names_gpus_by_uuid_has_them_however_they_are_numbered(gpus, wish, rng):
    """And what `auto` has is the same GPUs then, all together."""
    wish.config["groups"][1]["gpus"] = [gpus[0].uuid]
    numbers = rng.sample(range(20), len(gpus))
    moved = [replace(gpu, index=number) for gpu, number in zip(gpus, numbers, strict=True)]

    def holders(plan):
        return {
            group: {gpu.uuid for s in plan.instances if s.group == group for gpu in s.gpus}
            for group in ("auto", "named")
        }

    before, after = placed(gpus, wish), placed(moved, wish)
    assume(before is not None and after is not None)
    assert holders(after) == holders(before)
    assert holders(after)["named"] == {gpus[0].uuid}


@settings(max_examples=25)
@given(boxes([GpuKind.DISCRETE]), st.integers(1, 3))
def test_a_gpu_that_is_added_moves_nobody(gpus, number):
    """Behind the others: each instance that was there keeps its name, its port and its GPU."""
    wish = SimpleNamespace(config={"groups": [{"name": "auto", "count": number}]}, sizes={})
    more = (*gpus, replace(gpus[0], uuid="GPU-99", index=99, links=()))
    assume(len(gpus) * number > 1)

    def who(plan):
        return {(s.name, s.port, s.gpus[0].uuid) for s in plan.instances}

    assert who(placed(gpus, wish)) < who(placed(more, wish))


@settings(max_examples=25)
@given(boxes([GpuKind.DISCRETE, GpuKind.DISCRETE, GpuKind.SLICE]), st.integers(5, 200))
def test_a_big_model_has_the_fewest_gpus_and_the_best_connected_of_so_many(gpus, size_gib):
    """By brute force over all sets that a process can see: of one vendor, a slice by itself."""
    wish = SimpleNamespace(
        config={"groups": [{"name": "auto", "models": [BIG]}]}, sizes={BIG: size_gib * GIB}
    )
    plan = placed(gpus, wish)
    for vendor in set(VENDORS):
        cards = [g for g in gpus if g.vendor is vendor and g.kind is GpuKind.DISCRETE]
        holding = [
            subset
            for size in range(1, len(cards) + 1)
            for subset in combinations(cards, size)
            if room(subset) >= need(size_gib * GIB)
        ]
        if not holding:
            continue
        fewest = min(map(len, holding))
        best = max(pairs(subset) for subset in holding if len(subset) == fewest)
        uuids = {gpu.uuid for gpu in cards}
        sets = [s.gpus for s in plan.instances if s.pinned and {g.uuid for g in s.gpus} <= uuids]
        assert min(map(len, sets)) == fewest
        assert best in [pairs(together) for together in sets if len(together) == fewest]


@settings(max_examples=25)
@given(boxes())
def test_a_display_takes_room_and_nothing_else_of_the_plan(gpus):
    """Without models nothing depends on it but what instances are told."""
    wish = SimpleNamespace(config={"groups": [{"name": "auto"}]}, sizes={})
    dark = [replace(gpu, display_active=False) for gpu in gpus]
    one, other = placed(gpus, wish), placed(dark, wish)
    assert [[g.uuid for g in s.gpus] for s in one.instances] == [
        [g.uuid for g in s.gpus] for s in other.instances
    ]
    for spec in one.instances:
        told = "OLLAMA_GPU_OVERHEAD" in spec.environment
        assert told == any(gpu.display_active for gpu in spec.gpus)
