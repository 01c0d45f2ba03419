"""The environment of the simulated Ollama."""

from dataclasses import replace

import pytest

from ollama_fleet.config import Config
from ollama_fleet.placement import Models, place
from ollama_fleet.sim.hardware import SimulatedGpus
from ollama_fleet.sim.ollama.environment import read, visible
from ollama_fleet.sim.ollama.profile import load

NODES = load("4-mixed").nodes


def seen(**environment):
    return [node.index for node in visible(NODES, environment)[0]]


def test_without_a_variable_all_gpus_are_seen():
    assert seen() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NODES[2].uuid, [2]),
        (f"{NODES[3].uuid},{NODES[0].uuid}", [3, 0]),
        (NODES[1].uuid.upper(), [1]),
        ("1,0", [1, 0]),
        ("", []),
        ("-1", []),
        ("GPU-unknown", []),
        (f"{NODES[0].uuid},GPU-unknown,{NODES[1].uuid}", [0]),
    ],
)
def test_gpus_are_chosen_by_uuid_up_to_the_first_unknown(value, expected):
    assert seen(CUDA_VISIBLE_DEVICES=value) == expected


def test_rocms_variable_cannot_hide_a_cuda_card():
    assert seen(ROCR_VISIBLE_DEVICES="-1", CUDA_VISIBLE_DEVICES="2") == [2]
    assert seen(ROCR_VISIBLE_DEVICES="1") == [1]


def test_each_vendors_cards_go_by_its_own_variable():
    """In a box of both; an index counts among its vendor's cards."""
    box = (NODES[0], replace(NODES[1], vendor="amd"), NODES[2], replace(NODES[3], vendor="amd"))
    both = {"CUDA_VISIBLE_DEVICES": "1", "ROCR_VISIBLE_DEVICES": box[1].uuid}
    assert visible(box, both)[0] == (box[2], box[1])
    assert visible(box, {**both, "CUDA_VISIBLE_DEVICES": "-1"})[0] == (box[1],)
    assert visible(box, {"CUDA_VISIBLE_DEVICES": "1"})[0] == (box[2], box[3])


def test_defaults_are_ollamas():
    settings = read({"HOME": "/home/me"})
    assert (settings.host, settings.port) == ("127.0.0.1", 11434)
    assert str(settings.models) == "/home/me/.ollama/models"
    assert (settings.max_queue, settings.keep_alive_s, settings.load_timeout_s) == (512, 300, 300)
    assert settings.max_models == 3 * 4
    assert settings.prune
    assert settings.faults is None


def test_parallel_defaults_to_the_slots_of_the_weakest_gpu_seen():
    assert read({"CUDA_VISIBLE_DEVICES": "0"}).parallel == 4
    assert read({}).parallel == 2
    assert read({"CUDA_VISIBLE_DEVICES": ""}).parallel == 1
    assert read({"OLLAMA_NUM_PARALLEL": "7"}).parallel == 7


def test_several_gpus_are_one_memory_with_the_slowest_speed():
    settings = read({"CUDA_VISIBLE_DEVICES": "0,3"})
    assert settings.memory_bytes == NODES[0].memory_bytes + NODES[3].memory_bytes
    assert settings.gpu == NODES[3].rates


def test_the_time_scale_speeds_up_gpu_and_cpu():
    settings = read({"CUDA_VISIBLE_DEVICES": "0", "OLLAMA_SIM_TIME_SCALE": "10"})
    assert settings.gpu == NODES[0].rates.faster(10)
    assert settings.cpu == load("4-mixed").cpu.faster(10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("127.0.0.1", 11434)),
        ("127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("0.0.0.0", ("0.0.0.0", 11434)),
        ("http://example:8080/x", ("example", 8080)),
        ("http://example", ("example", 80)),
        ("https://example", ("example", 443)),
        (":6000", ("127.0.0.1", 6000)),
        ("[::1]:6000", ("::1", 6000)),
        ("[::1]", ("::1", 11434)),
        ("host:99999", ("host", 11434)),
        (' "127.0.0.1:5000" ', ("127.0.0.1", 5000)),
    ],
)
def test_hosts_are_read_as_ollama_reads_them(text, expected):
    settings = read({"OLLAMA_HOST": text})
    assert (settings.host, settings.port) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", True), ("0", True), ("false", True), ("1", False), ("true", False), ("junk", False)],
)
def test_an_unreadable_flag_is_true(text, expected):
    assert read({"OLLAMA_NOPRUNE": text}).prune is expected


@pytest.mark.parametrize(
    ("text", "expected"), [("10m", 600.0), ("-1", -1.0), ("0", 0.0), ("junk", 300.0), ("90", 90.0)]
)
def test_durations_fall_back_to_the_default(text, expected):
    assert read({"OLLAMA_KEEP_ALIVE": text}).keep_alive_s == expected


def test_a_bad_scale_or_profile_is_an_error():
    with pytest.raises(ValueError, match="TIME_SCALE"):
        read({"OLLAMA_SIM_TIME_SCALE": "0"})
    with pytest.raises(ValueError, match="no profile"):
        read({"OLLAMA_SIM_PROFILE": "nope"})


@pytest.mark.parametrize("name", ["4-mixed", "4xMI300X", "A100-7xMIG", "laptop"])
def test_the_simulation_shows_an_instance_the_gpus_that_its_environment_names(name, tmp_path):
    """Cards, slices, of either vendor: those that were planned, in that order, and no other."""
    profile = load(name)
    inventory = SimulatedGpus(profile, tmp_path).inventory()
    plan = place(
        Config(), inventory, ports=iter(range(11435, 11500)), inherited={}, models=Models()
    )
    for spec in plan.instances:
        nodes, _ = visible(profile.nodes, spec.environment)
        assert [node.uuid for node in nodes] == [gpu.uuid for gpu in spec.gpus] != []
