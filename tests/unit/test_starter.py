"""What `fleet init` writes: it loads, this machine can place it, and it tells what was found."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.config import load
from ollama_fleet.control.service import Service
from ollama_fleet.gpu import Gpu, GpuKind, Inventory, Vendor
from ollama_fleet.layout import MEANS, Access, Way, starter, to_do
from ollama_fleet.placement import Models, place

GIB = 2**30

cards = st.sampled_from(
    ["NVIDIA A100-SXM4-80GB", "NVIDIA GeForce RTX 4090", "X", "X 1", "X-1", "null", ""]
)
gpu_facts = st.tuples(
    cards | st.text(max_size=9),
    st.sampled_from([0, 16, 24, 80]),
    st.sampled_from(Vendor),
    st.sampled_from(GpuKind),
)
services = st.builds(
    Service,
    pid=st.integers(1, 2**22),
    user=st.text(max_size=9),
    host=st.sampled_from(["127.0.0.1", "0.0.0.0", "::", "::1", "", "box"]),
    port=st.integers(1, 65535),
    store=st.text(max_size=20),
    managed_by=st.sampled_from(["", "ollama.service"]),
    stop=st.text(max_size=20),
    version=st.text(max_size=9),
    settings=st.tuples() | st.tuples(st.text(max_size=9)),
    mounts=st.sampled_from(["", "docker inspect it"]),
)


@st.composite
def inventories(draw):
    facts = draw(st.lists(gpu_facts, max_size=6))
    return Inventory(
        tuple(
            Gpu(f"GPU-{i}", i, name, vendor, gib * GIB, kind=kind)
            for i, (name, gib, vendor, kind) in enumerate(facts)
        ),
        draw(st.tuples() | st.tuples(st.text(max_size=20))),
    )


def read(text, folder):
    path = folder / "fleet.yaml"
    path.write_text(text)
    return load(path, environ={"HOME": "/home/me"}, cwd=folder, overrides={}).config


def placed(config, inventory):
    return place(config, inventory, ports=count(11435), inherited={}, models=Models())


@given(inventories(), st.lists(services, max_size=2))
def test_it_loads_and_gives_every_gpu_an_instance_of_its_own(tmp_path_factory, inventory, running):
    """Whatever the names of cards, users and paths; lesser GPUs stay idle beside better ones."""
    config = read(starter(inventory, running), tmp_path_factory.mktemp("init"))
    lesser = (GpuKind.VIRTUAL, GpuKind.INTEGRATED)
    cards = [gpu for gpu in inventory.gpus if gpu.kind not in lesser]
    virtual = [gpu for gpu in inventory.gpus if gpu.kind is GpuKind.VIRTUAL]
    wanted = {(gpu,) for gpu in cards or virtual or inventory.gpus} or {()}
    instances = placed(config, inventory).instances
    assert {spec.gpus for spec in instances} == wanted
    assert len(instances) == len(wanted)


def test_gpus_that_are_alike_form_a_group():
    gpus = [
        Gpu(f"GPU-{i}", i, name, Vendor.NVIDIA, gib * GIB)
        for i, (name, gib) in enumerate([("RTX 3060", 12), ("A2", 16), ("RTX 3060", 12), ("A2", 8)])
    ]
    text = starter(Inventory(tuple(gpus)), ())
    assert "name: rtx-3060-12g\n    gpus: [0, 2]" in text
    assert "name: a2-16g\n    gpus: [1]" in text
    assert "name: a2-8g\n    gpus: [3]" in text
    assert "2 x RTX 3060, 12.0 GiB each" in text
    assert "GPU-3" in text


def test_without_gpus_it_says_why():
    text = starter(Inventory((), ("no driver found (install it)",)), ())
    assert "# no driver found (install it)" in text
    assert "gpus: []" in text


RUNNING = Service(
    812, "ollama", "0.0.0.0", 11434, "/srv/models", "ollama.service", "sudo systemctl stop it"
)


def test_a_server_that_runs_is_told_with_three_ways_out(tmp_path):
    """Stop it, share its store, or put the fleet in front: the last two are there to uncomment."""
    text = starter(Inventory(), (RUNNING, replace(RUNNING, port=11500)))
    assert "pid 812, user ollama, started by ollama.service" in text
    assert "- stop it: sudo systemctl stop it" in text
    loose = text.replace('# models: "/srv', 'models: "/srv').replace("# instances:", "instances:")
    config = read(loose.replace("#   - { name: ollama", "  - { name: ollama"), tmp_path)
    assert str(config.ollama.models) == "/srv/models"
    assert [external.url for external in config.instances] == [
        "http://127.0.0.1:11434",
        "http://127.0.0.1:11500",
    ]


@settings(max_examples=30)
@given(
    inventories(),
    st.lists(services, min_size=1, max_size=3),
    st.sampled_from(Way),
    st.sampled_from(Access),
)
def test_whatever_is_chosen_the_file_loads_and_no_address_is_taken_twice(
    tmp_path_factory, inventory, running, way, access
):
    """Only who takes a server's place listens where it did; no store is used but the first's."""
    config = read(starter(inventory, running, way, access), tmp_path_factory.mktemp("init"))
    if config.ollama.models != Path("/home/me/.ollama/models"):
        assert running[0].store
        assert way in {Way.TAKE_OVER, Way.SHARE}
        assert access is Access.WRITE
    taken = {service.port for service in running}
    if way is Way.TAKE_OVER:
        assert config.listen.port == running[0].port
    elif way is not Way.LEAVE:
        assert config.listen.port not in taken
    assert bool(config.instances) is (way is Way.FRONT)
    assert bool(config.groups) is (way is not Way.FRONT)


def test_each_way_is_offered_once_and_told_with_its_undoing():
    assert set(MEANS) == set(Way)
    undo = {Way.TAKE_OVER: "sudo systemctl enable it", Way.SHARE: "To undo", Way.FRONT: "To undo"}
    for way, said in undo.items():
        assert said in starter(Inventory(), (replace(RUNNING, begin=undo[Way.TAKE_OVER]),), way)


def test_who_takes_over_has_its_address_and_its_models_and_touches_no_other(tmp_path):
    text = starter(Inventory(), (RUNNING, replace(RUNNING, port=11500)), Way.TAKE_OVER)
    assert text.count("The fleet takes its place") == text.count("It competes for memory") == 1
    config = read(text, tmp_path)
    assert (str(config.listen), str(config.ollama.models)) == ("0.0.0.0:11434", "/srv/models")
    others = text.partition("# instances:")[2]
    assert "11500" in others
    assert "11434" not in others, "it is gone"


def test_nobody_is_told_to_stop_what_nobody_here_can_stop():
    assert "- stop it" not in starter(Inventory(), (replace(RUNNING, stop=""),))


def test_a_store_that_cannot_be_written_is_not_used_and_the_reader_is_told_what_to_do(tmp_path):
    text = starter(Inventory(), (RUNNING,), Way.SHARE, Access.READ)
    assert str(read(text, tmp_path).ollama.models) != "/srv/models"
    assert "cp -r /srv/models/. ~/.ollama/models/" in text
    assert "sudo" not in text.partition("models:")[0]


def test_who_may_not_even_read_a_store_copies_it_with_the_rights_of_root():
    text = starter(Inventory(), (RUNNING,), Way.TAKE_OVER, Access.NONE)
    assert "sudo cp -r /srv/models/. ~/.ollama/models/ && sudo chown" in text


def test_the_models_of_a_container_are_where_its_engine_tells(tmp_path):
    inside = replace(RUNNING, store="", mounts="docker inspect 0123")
    other = replace(RUNNING, port=11500, store="/other")
    text = starter(Inventory(), (inside, other), Way.TAKE_OVER)
    assert "docker inspect 0123" in text
    assert str(read(text, tmp_path).ollama.models) == "/home/me/.ollama/models"


@pytest.mark.parametrize(
    ("service", "way", "access", "words"),
    [
        (RUNNING, Way.TAKE_OVER, Access.WRITE, ["fleet keys add"]),
        (replace(RUNNING, host="127.0.0.1"), Way.TAKE_OVER, Access.WRITE, []),
        (replace(RUNNING, host="127.0.0.1"), Way.TAKE_OVER, Access.READ, ["models"]),
        (replace(RUNNING, host="127.0.0.1", store=""), Way.TAKE_OVER, Access.WRITE, ["models"]),
        (RUNNING, Way.SHARE, Access.NONE, ["models"]),
        (RUNNING, Way.SHARE, Access.WRITE, []),
        (RUNNING, Way.FRONT, Access.NONE, []),
        (RUNNING, Way.LEAVE, Access.NONE, []),
    ],
)
def test_what_keeps_a_fleet_from_being_what_was_chosen_is_told_on_the_screen(
    service, way, access, words
):
    told = list(to_do((service,), way, access))
    assert len(told) == len(words)
    assert all(word in line for word, line in zip(words, told, strict=True))


def test_who_takes_the_place_of_an_open_server_is_told_of_keys_in_the_file(tmp_path):
    """Its clients bring none: either they get some, or everybody is let in as before."""
    text = starter(Inventory(), (RUNNING,), Way.TAKE_OVER)
    assert read(text, tmp_path).keys_required
    loose = read(text.replace("# insecure_no_auth", "insecure_no_auth"), tmp_path)
    assert not loose.keys_required
    closed = starter(Inventory(), (replace(RUNNING, host="127.0.0.1"),), Way.TAKE_OVER)
    assert "insecure_no_auth" not in closed


def test_the_settings_that_a_server_had_are_not_lost():
    text = starter(Inventory(), (replace(RUNNING, settings=("OLLAMA_X=a b",)),), Way.TAKE_OVER)
    assert "It ran with 'OLLAMA_X=a b'" in text


def test_the_examples_in_comments_can_be_used(tmp_path):
    """Uncommented, the pinned model and the models section load too."""
    text = starter(Inventory(), ())
    for commented in ("# models: [", "# models: # loaded", '#   "qwen3'):
        assert commented in text
        text = text.replace(commented, commented.replace("# ", "", 1).replace("#  ", "  ", 1))
    config = read(text, tmp_path)
    assert config.groups[0].models == ("llama3.3:70b",)
    assert config.models["qwen3:8b"].replicas == 2
