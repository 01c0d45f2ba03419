"""Placement by example: what each way to write a group comes to, and what is said about it."""

from itertools import count
from typing import Any

import pytest

from ollama_fleet.config import Config
from ollama_fleet.errors import PlacementError
from ollama_fleet.gpu import Gpu, GpuKind, Inventory, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.placement import InstanceSpec, Models, Placement, place

GIB = 2**30


def gpu(index: int, gib: int = 24, **fields: Any) -> Gpu:
    uuid = fields.pop("uuid", f"GPU-{index:08d}")
    vendor = fields.pop("vendor", Vendor.NVIDIA)
    return Gpu(uuid, index, "NVIDIA L4", vendor, gib * GIB, **fields)


def box(*gpus: Gpu, notes: tuple[str, ...] = ()) -> Inventory:
    return Inventory(gpus, notes)


FOUR = box(*(gpu(i) for i in range(4)))


def placed(
    config: dict[str, Any],
    inventory: Inventory = FOUR,
    *,
    inherited: dict[str, str] | None = None,
    sizes_gib: dict[str, float] | None = None,
) -> Placement:
    return place(
        Config.model_validate(config),
        inventory,
        ports=iter(range(11435, 11500)),
        inherited=inherited or {},
        models=Models({canonical(m): round(s * GIB) for m, s in (sizes_gib or {}).items()}),
    )


def groups(*of: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"groups": list(of), **rest}


def cards(placement: Placement) -> dict[str, list[int]]:
    return {spec.name: [gpu.index for gpu in spec.gpus] for spec in placement.instances}


def only(placement: Placement) -> InstanceSpec:
    (spec,) = placement.instances
    return spec


# -- which GPUs ------------------------------------------------------------------------------------


def test_with_no_file_each_gpu_has_an_instance():
    placement = placed({})
    assert cards(placement) == {"gpu-0": [0], "gpu-1": [1], "gpu-2": [2], "gpu-3": [3]}
    assert placement.notes == ()


@pytest.mark.parametrize(
    ("number", "runs"),
    [
        (1, [[3, 0, 1]]),
        (2, [[3], [0, 1]]),
        (3, [[3], [0], [1]]),
        (4, [[3], [3], [0], [1]]),
        (6, [[3], [3], [0], [0], [1], [1]]),
    ],
)
def test_count_divides_the_named_gpus_in_their_order(number, runs):
    """Contiguous runs, as even as can be; more instances than GPUs share them, and say so."""
    placement = placed(groups({"name": "a", "gpus": [3, 0, 1], "count": number}))
    assert list(cards(placement).values()) == runs
    for spec in placement.instances:
        shared = sum(spec.gpus == other.gpus for other in placement.instances) > 1
        assert any("shares them" in reason for reason in spec.reasons) == shared


def test_a_gpu_may_be_named_by_index_text_or_uuid():
    placement = placed(groups({"name": "a", "gpus": [2, "1", "GPU-00000000"]}))
    assert cards(placement) == {"a": [2, 1, 0]}


def test_auto_takes_what_no_other_group_names():
    placement = placed(
        groups({"name": "rest", "gpus": "auto", "count": 2}, {"name": "big", "gpus": [0, 1, 3]})
    )
    assert cards(placement) == {"rest-0": [2], "rest-1": [2], "big": [0, 1, 3]}
    assert placement.notes == ()
    assert all("shares them with 1 more" in "".join(s.reasons) for s in placement.instances[:2])


def test_a_gpu_that_no_group_takes_is_noted():
    placement = placed(groups({"name": "a", "gpus": [0, 1, 3]}))
    assert [note for note in placement.notes if "GPU 2" in note and "idle" in note]


def test_auto_with_nothing_left_is_noted():
    placement = placed(groups({"name": "a", "gpus": [0, 1, 2, 3]}, {"name": "rest"}))
    assert list(cards(placement)) == ["a"]
    assert [note for note in placement.notes if "`rest` has no instance" in note]


def test_an_integrated_gpu_is_left_alone_beside_cards_but_serves_when_alone():
    integrated = gpu(1, 0, kind=GpuKind.INTEGRATED)
    beside = placed({}, box(gpu(0), integrated))
    assert cards(beside) == {"gpu": [0]}
    assert [note for note in beside.notes if "integrated" in note]
    alone = placed({}, box(integrated))
    assert cards(alone) == {"gpu": [1]}
    assert "(NVIDIA L4, memory of the system)" in only(alone).reasons[0]


@pytest.mark.parametrize("kind", [GpuKind.INTEGRATED, GpuKind.VIRTUAL])
def test_a_lesser_gpu_is_left_alone_beside_cards_that_another_group_has(kind):
    """What is left of a laptop whose card is named is no place for models."""
    laptop = box(gpu(0), gpu(1, kind=kind))
    placement = placed(groups({"name": "big", "gpus": [0]}, {"name": "rest"}), laptop)
    assert cards(placement) == {"big": [0]}
    assert any("`rest` has no instance" in note for note in placement.notes)
    assert any("GPU 1 " in note and "stays idle" in note for note in placement.notes)


def test_an_integrated_gpu_is_left_alone_beside_a_virtual_one():
    both = box(gpu(0, kind=GpuKind.INTEGRATED), gpu(1, kind=GpuKind.VIRTUAL))
    assert cards(placed({}, both)) == {"gpu": [1]}


def test_an_empty_list_runs_on_the_cpu():
    placement = placed(groups({"name": "cpu", "gpus": [], "count": 2}), box())
    assert cards(placement) == {"cpu-0": [], "cpu-1": []}


def test_without_gpus_auto_runs_on_the_cpu_and_says_why():
    placement = placed({}, box(notes=("no driver found (install it)",)))
    assert cards(placement) == {"gpu": []}
    assert "CPU" in placement.notes[0]
    assert "no driver found (install it)" in placement.notes[0]
    assert placement.notes[0] in only(placement).reasons
    assert cards(placed(groups({"name": "a", "count": 2}), box())) == {"a-0": [], "a-1": []}


def test_without_gpus_auto_adds_nothing_to_a_group_for_the_cpu():
    placement = placed(groups({"name": "a"}, {"name": "cpu", "gpus": []}), box())
    assert cards(placement) == {"cpu": []}
    assert [note for note in placement.notes if "`a` has no instance" in note]


def test_what_the_drivers_note_is_passed_on():
    assert placed({}, box(gpu(0), notes=("GPU 1 is lost",))).notes == ("GPU 1 is lost",)


@pytest.mark.parametrize(
    ("config", "inventory", "words"),
    [
        (groups({"name": "a", "gpus": [9]}), FOUR, ["`a`", "GPU 9", "GPU-00000002", "auto"]),
        (groups({"name": "a", "gpus": ["GPU-x"]}), FOUR, ["`a`", "GPU-x", "3 = NVIDIA L4"]),
        (groups({"name": "a", "gpus": [0]}), box(notes=("no driver",)), ["no driver", "gpus: []"]),
        (
            groups({"name": "a", "gpus": [0]}, {"name": "b", "gpus": ["GPU-00000000"]}),
            FOUR,
            ["`a` and `b`", "GPU-00000000", "count"],
        ),
        (groups({"name": "a", "gpus": [0, "GPU-00000000"]}), FOUR, ["`a`", "twice"]),
        (
            groups({"name": "a", "gpus": [0, 1]}),
            box(gpu(0), gpu(1, vendor=Vendor.AMD)),
            ["`a`", "two vendors"],
        ),
        (
            groups({"name": "a", "gpus": [0, 1]}),
            box(*(gpu(i, kind=GpuKind.SLICE) for i in range(2))),
            ["`a`", "slice", "count"],
        ),
        (
            groups({"name": "a", "gpus": [0, 1]}),
            box(gpu(0), gpu(1, kind=GpuKind.SLICE)),
            ["`a`", "with slices among them", "count"],
        ),
        (
            groups({"name": "a", "gpus": ["GPU-card"]}),
            box(*(gpu(i, kind=GpuKind.SLICE, parent_uuid="GPU-card") for i in (1, 2)), gpu(3)),
            ["GPU-card, a card that is divided: its slices are GPUs 1, 2 ", "count"],
        ),
        (
            groups({"name": "a", "gpus": [0]}),
            Inventory((gpu(1),), notes := ("GPU 0 is divided", "GPU 2 is a vGPU"), remarks=notes),
            ["does not have: GPU 0 is divided; it has 1 = NVIDIA L4"],
        ),
        (
            groups({"name": "a", "gpus": ["GPU-x"]}),  # whose card cannot tell its UUID any more
            box(gpu(1), notes=("GPU 0 is lost",)),
            ["does not have: GPU 0 is lost; it has 1 = NVIDIA L4"],
        ),
        (
            groups({"name": "a", "gpus": [0, 1], "count": 2}, {"name": "a-1", "gpus": [2]}),
            FOUR,
            ["`a-1`", "group `a`", "rename"],
        ),
    ],
)
def test_what_cannot_be_placed_is_refused(config, inventory, words):
    """The error names the group, what there is, and the way out."""
    with pytest.raises(PlacementError) as caught:
        placed(config, inventory)
    assert [word for word in words if word not in str(caught.value)] == []


def test_too_few_ports_are_an_error():
    with pytest.raises(PlacementError, match=r"gpu-2.*instance_ports"):
        place(Config(), FOUR, ports=iter([1, 2]), inherited={}, models=Models())


def test_the_fleets_own_port_is_not_given_away():
    placement = place(Config(), FOUR, ports=count(11433), inherited={}, models=Models())
    assert [spec.port for spec in placement.instances] == [11433, 11435, 11436, 11437]


# -- pinned models ---------------------------------------------------------------------------------


def pinning(gpus: Any, *models: str, **rest: Any) -> dict[str, Any]:
    return groups({"name": "a", "gpus": gpus, "models": list(models), **rest})


def test_a_pinned_model_too_large_for_one_gpu_takes_several_together():
    """35 GiB need 42: two cards of 24 hold that; what is left over serves other models."""
    five = box(*(gpu(i) for i in range(5)))
    placement = placed(pinning("auto", "big"), five, sizes_gib={"big": 35})
    assert cards(placement) == {"a-0": [0, 1], "a-1": [2, 3], "a-2": [4]}
    assert placement.routes == {canonical("big"): {"a-0", "a-1"}}
    assert placement.instances[2].pinned == placement.instances[2].preload == ()
    assert "42.0 GiB" in "".join(placement.instances[0].reasons)
    assert "stands alone" in "".join(placement.instances[2].reasons)


def test_the_largest_cards_are_taken_first():
    mixed = box(gpu(0, 24), gpu(1, 80), gpu(2, 24), gpu(3, 24))
    placement = placed(pinning("auto", "big"), mixed, sizes_gib={"big": 35})
    assert cards(placement) == {"a-0": [0, 2], "a-1": [1], "a-2": [3]}


def test_memory_that_is_reserved_is_not_for_models():
    two = box(gpu(0, 24, reserved_bytes=GIB), gpu(1, 24, reserved_bytes=GIB))
    together = placed(pinning("auto", "m"), two, sizes_gib={"m": 19.5})  # needs 23.4, has 23
    assert cards(together) == {"a": [0, 1]}
    apart = placed(pinning("auto", "m"), two, sizes_gib={"m": 19})  # needs 22.8
    assert cards(apart) == {"a-0": [0], "a-1": [1]}


def test_instances_are_numbered_by_their_gpus_whatever_the_vendor():
    three = box(gpu(0), gpu(1, vendor=Vendor.AMD), gpu(2))
    assert cards(placed({}, three)) == {"gpu-0": [0], "gpu-1": [1], "gpu-2": [2]}


def test_what_a_group_keeps_of_its_gpus_is_not_for_models_either():
    """Whatever the defaults say: 22 GiB are needed, of 24 with 4 kept."""
    config = pinning("auto", "m", gpu_overhead="4GiB") | {"defaults": {"gpu_overhead": "1GiB"}}
    assert cards(placed(config, box(gpu(0), gpu(1)), sizes_gib={"m": 18})) == {"a": [0, 1]}


def test_instances_that_share_a_gpu_share_its_memory():
    """15 GiB fit on a card of 24, and not twice."""
    with pytest.raises(PlacementError, match=r"12\.0 GiB for models for each of 2 instances"):
        placed(pinning([0], "m", count=2), FOUR, sizes_gib={"m": 15})


def test_cards_of_two_vendors_are_not_taken_together():
    two = box(gpu(0), gpu(1, vendor=Vendor.AMD))
    placement = placed(pinning("auto", "big", cpu_offload=True), two, sizes_gib={"big": 35})
    assert cards(placement) == {"a-0": [0], "a-1": [1]}


def test_slices_are_not_taken_together():
    two = box(*(gpu(i, kind=GpuKind.SLICE) for i in range(2)))
    placement = placed(pinning("auto", "big", cpu_offload=True), two, sizes_gib={"big": 35})
    assert cards(placement) == {"a-0": [0], "a-1": [1]}


@pytest.mark.parametrize(
    ("larger_gib", "together"),
    [(55, [[0, 1, 2], [3]]), (100, [[0, 1], [2, 3]])],
    ids=["which three hold", "which nothing holds"],
)
def test_of_several_pinned_models_the_largest_that_fits_decides(larger_gib, together):
    """Not a smaller one, nor one that all cards together do not hold."""
    config = pinning("auto", "larger", "big", cpu_offload=True, max_loaded_models=1)
    placement = placed(config, FOUR, sizes_gib={"larger": larger_gib, "big": 35})
    assert list(cards(placement).values()) == together


def test_count_of_auto_counts_on_cards_that_are_taken_together_too():
    """Two instances on each set, and room in it for the model twice."""
    placement = placed(pinning("auto", "m", count=2), FOUR, sizes_gib={"m": 15})
    assert cards(placement) == {"a-0": [0, 1], "a-1": [0, 1], "a-2": [2, 3], "a-3": [2, 3]}
    assert "m needs about 36.0 GiB in 2 instances, more" in "".join(placement.instances[0].reasons)


def test_a_pinned_model_that_fits_nowhere_may_run_in_part_on_the_cpu_if_the_group_says_so():
    config = pinning("auto", "huge", cpu_offload=True)
    placement = placed(config, FOUR, sizes_gib={"huge": 100})
    assert placement.routes == {canonical("huge"): {"a-0", "a-1", "a-2", "a-3"}}
    (note,) = placement.notes
    assert [w for w in ("120.0 GiB", "100.0 GiB", "24.0 GiB", "CPU") if w not in note] == []


def test_an_instance_too_small_for_a_pinned_model_leaves_it_to_the_others():
    placement = placed(pinning([0, 1, 2], "m", count=2), FOUR, sizes_gib={"m": 30})
    assert placement.routes == {canonical("m"): {"a-1"}}
    assert "does not serve m" in "".join(placement.instances[0].reasons)


def test_a_pinned_model_that_may_fit_is_bound_to_those_that_may_hold_it_alone():
    """23 GiB, and a fifth more: 24 may be enough for it, 8 are not."""
    unequal = box(gpu(0, 8), gpu(1, 24))
    placement = placed(pinning([0, 1], "m", count=2), unequal, sizes_gib={"m": 23})
    assert placement.routes == {canonical("m"): {"a-1"}}
    assert "does not serve m" in "".join(placement.instances[0].reasons)
    assert placement.instances[0].preload == ()
    assert any("may not hold m" in note for note in placement.notes)


def test_a_pinned_model_of_unknown_size_is_taken_to_fit():
    placement = placed(pinning("auto", "new"))
    assert all(spec.pinned == (canonical("new"),) for spec in placement.instances)
    assert [note for note in placement.notes if "new" in note and "pulled" in note]


# -- models ----------------------------------------------------------------------------------------


def test_routes_are_the_union_of_pins_and_groups():
    placement = placed(
        groups(
            {"name": "a", "gpus": [0], "models": ["M:latest"]},
            {"name": "b", "gpus": [1]},
            {"name": "c", "gpus": [2, 3]},
            models={"m": {"groups": ["b"]}, "free": {}},
            instances=[{"name": "attic", "url": "http://attic.lan:11434/"}],
        )
    )
    assert placement.routes == {canonical("m"): {"a", "b"}}


def test_replicas_are_spread_over_groups():
    placement = placed(
        groups(
            {"name": "a", "gpus": [0, 1], "count": 2},
            {"name": "b", "gpus": [2, 3], "count": 2},
            models={"m": {"preload": True, "replicas": 3}, "n": {"preload": True, "groups": ["b"]}},
        )
    )
    assert {spec.name: spec.preload for spec in placement.instances} == {
        "a-0": ("m",),
        "a-1": ("m",),
        "b-0": ("m", "n"),
        "b-1": ("n",),
    }


def test_more_replicas_than_instances_are_noted():
    placement = placed({"models": {"m": {"preload": True, "replicas": 9}}})
    assert all(spec.preload == ("m",) for spec in placement.instances)
    assert [note for note in placement.notes if "9 times" in note]


def test_a_model_is_preloaded_once_however_it_is_written():
    config = pinning([0], "Llama3.2", "llama3.2:latest")
    assert only(placed(config)).preload == ("Llama3.2",)


def test_a_model_that_fills_its_gpu_fits():
    """20 GiB and a fifth more, on 24."""
    placement = placed(pinning([0], "m"), box(gpu(0)), sizes_gib={"m": 20})
    assert not any("may not hold" in note for note in placement.notes)


def test_an_instance_holds_three_models_for_each_of_its_gpus():
    small = dict.fromkeys("abcdefg", 1)
    six = placed(pinning([0, 1], *"abcdef"), box(gpu(0), gpu(1)), sizes_gib=small)
    assert not any("at once" in note for note in six.notes)
    seven = placed(pinning([0, 1], *"abcdefg"), box(gpu(0), gpu(1)), sizes_gib=small)
    assert any("6 models at once, three per GPU" in note for note in seven.notes)


def test_models_that_may_push_each_other_out_are_noted():
    """15 GiB fit beside 8, though not with a fifth more of each: that is not sure enough."""
    placement = placed(pinning([0], "m", "n"), FOUR, sizes_gib={"m": 15, "n": 8})
    assert [note for note in placement.notes if "m: about 18.0 GiB" in note and "27.6" in note]


def test_a_model_that_may_fit_alone_is_refused_beside_one_that_leaves_no_room_for_it():
    """21 GiB may be held by 24, and with 5 more they are surely not."""
    with pytest.raises(PlacementError, match=r"cannot hold m: .* together"):
        placed(pinning([0], "m", "n"), FOUR, sizes_gib={"m": 21, "n": 5})


def test_a_model_whose_groups_have_no_instance_is_noted():
    config = groups(
        {"name": "a", "gpus": [0, 1, 2, 3]},
        {"name": "rest", "models": ["p"]},
        models={"m": {"groups": ["rest"]}},
    )
    placement = placed(config)
    assert placement.routes == {canonical("m"): frozenset(), canonical("p"): frozenset()}
    assert len([note for note in placement.notes if "nothing may serve" in note]) == 2


# -- what an instance starts with ------------------------------------------------------------------


def test_an_instance_inherits_little():
    theirs = {
        "PATH": "/bin", "HOME": "/root", "LC_ALL": "C", "https_proxy": "p", "OLLAMA_SIM_SEED": "1",
        "AWS_SECRET_ACCESS_KEY": "x", "LLAMA_ARG_CTX_SIZE": "1", "OLLAMA_HOST": "0.0.0.0",
        "CUDA_VISIBLE_DEVICES": "7", "OLLAMA_DEBUG": "1",
    }  # fmt: skip
    environment = only(placed(groups({"name": "a", "gpus": [0]}), inherited=theirs)).environment
    assert {name: environment.get(name) for name in theirs} == {
        "PATH": "/bin", "HOME": "/root", "LC_ALL": "C", "https_proxy": "p", "OLLAMA_SIM_SEED": "1",
        "AWS_SECRET_ACCESS_KEY": None, "LLAMA_ARG_CTX_SIZE": None, "OLLAMA_HOST": "127.0.0.1:11435",
        "CUDA_VISIBLE_DEVICES": "GPU-00000000", "OLLAMA_DEBUG": None,
    }  # fmt: skip


def test_a_group_overrides_the_defaults_and_the_environment():
    config = groups(
        {"name": "a", "gpus": [0], "num_parallel": 2, "env": {"PATH": "/opt/bin", "X": "1"}},
        defaults={"num_parallel": 8, "max_queue": 7, "env": {"X": "0", "Y": "2"}},
        ollama={"models": "/srv/models"},
    )
    spec = only(placed(config, inherited={"PATH": "/bin"}))
    wanted = {
        "OLLAMA_NUM_PARALLEL": "2", "OLLAMA_MAX_QUEUE": "7", "PATH": "/opt/bin", "X": "1", "Y": "2",
        "OLLAMA_MODELS": "/srv/models", "OLLAMA_NOPRUNE": "1",
    }  # fmt: skip
    assert {name: spec.environment[name] for name in wanted} == wanted
    assert (spec.slots, spec.store) == (2, "/srv/models")
    assert "2 slots for each model: `num_parallel` of group `a`" in spec.reasons


def test_a_group_may_have_its_own_store_and_says_so():
    config = groups(
        {"name": "a", "gpus": []},
        {"name": "b", "gpus": [], "count": 2, "store": "/big/models"},
        ollama={"models": "/srv/models"},
    )
    specs = placed(config).instances
    assert [spec.store for spec in specs] == ["/srv/models", "/big/models", "/big/models"]
    assert all(spec.environment["OLLAMA_MODELS"] == spec.store for spec in specs)
    own = "its own models: `store` of group `b`"
    assert [own in spec.reasons for spec in specs] == [False, True, True]


def test_the_routers_queue_is_the_one_that_refuses():
    assert (
        only(placed(groups({"name": "a", "gpus": [0]}))).environment["OLLAMA_MAX_QUEUE"] == "4096"
    )


def test_without_num_parallel_there_is_one_slot():
    config = groups({"name": "a", "gpus": [0]}, defaults={"num_parallel": None})
    assert only(placed(config)).slots == 1


VISIBLE = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "OLLAMA_VULKAN",
)


@pytest.mark.parametrize(
    ("vendor", "gpus", "values"),
    [
        (Vendor.NVIDIA, [2, 0], ("GPU-00000002,GPU-00000000", "-1", "-1", "0")),
        (Vendor.AMD, [2, 0], ("-1", "GPU-00000002,GPU-00000000", "0,1", "0")),
        (Vendor.NVIDIA, [], ("-1", "-1", "-1", "0")),
    ],
)
def test_an_instance_sees_its_gpus_and_no_other(vendor, gpus, values):
    """By UUID, for its vendor; the other vendor's are hidden, and Vulkan brings none back."""
    inventory = box(*(gpu(i, vendor=vendor) for i in range(3)))
    environment = only(placed(groups({"name": "a", "gpus": gpus}), inventory)).environment
    assert tuple(environment[name] for name in VISIBLE) == values


def test_vulkan_is_followed_only_where_it_shows_nobodys_gpu():
    asked = placed(groups({"name": "a", "gpus": [0], "vulkan": True}))
    assert only(asked).environment["OLLAMA_VULKAN"] == "0"
    assert "not followed" in "".join(only(asked).reasons)
    on_cpu = placed({"defaults": {"vulkan": True}}, box())
    assert only(on_cpu).environment["OLLAMA_VULKAN"] == "1"


def test_external_instances_come_last_and_are_not_ours():
    placement = placed(
        {
            "instances": [
                {"name": "attic", "url": "http://attic.lan", "slots": 3},
                {"name": "six", "url": "https://[::1]"},
                {"name": "near", "url": "http://10.0.0.2:8080/"},
            ]
        }
    )
    last = placement.instances[-3:]
    assert [(s.name, s.host, s.port, s.slots) for s in last] == [
        ("attic", "attic.lan", 80, 3), ("six", "::1", 443, 1), ("near", "10.0.0.2", 8080, 1),
    ]  # fmt: skip
    assert [s.most_slots > s.slots for s in last] == [False, True, True]
    assert all(s.external and s.environment == {} and s.gpus == () for s in last)
    assert [s.base_url for s in last] == [
        "http://attic.lan", "https://[::1]", "http://10.0.0.2:8080",
    ]  # fmt: skip
    assert [s.store for s in last] == [s.base_url for s in last]
