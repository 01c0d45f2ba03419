"""The doctor's judgements: what is well, what is not, and that each ill has a remedy."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.config import Config, TlsConfig
from ollama_fleet.control.orphans import RunRecord
from ollama_fleet.control.ports import Listener
from ollama_fleet.control.program import told_version
from ollama_fleet.control.service import Service
from ollama_fleet.directories import Directories
from ollama_fleet.doctor import Facts, Status, checks
from ollama_fleet.doctor.facts import (
    BinaryFacts,
    CertificateFacts,
    KeysFacts,
    OpenFacts,
    PortFacts,
    ProgramFacts,
    StoreFacts,
)
from ollama_fleet.doctor.privacy import open_to_others
from ollama_fleet.doctor.software import parse_version
from ollama_fleet.gpu import Gpu, Inventory, Vendor

GIB = 2**30
CARD = Gpu("GPU-0", 0, "NVIDIA L4", Vendor.NVIDIA, 24 * GIB)
RECORD = RunRecord("gpu-0", 70, 1, 11435, (), "", "")
OTHER = Service(
    812, "ollama", "127.0.0.1", 11434, "/m", "ollama.service", "sudo systemctl stop it", "0.20.0"
)
IN_USE = PortFacts("listen", "127.0.0.1", 11434, "Address already in use")
WELL = Facts(
    binary=BinaryFacts("ollama", "/bin/ollama", "0.20.0"),
    inventory=Inventory((CARD,)),
    stores=(StoreFacts("/models", free_bytes=500 * GIB),),
    program=ProgramFacts((3, 12, 1), yaml_in_c=True, uvloop="0.22.1", files=65536),
    ports=(PortFacts("listen", "127.0.0.1", 11434),),
    externals={"attic": "0.20.0"},
    nvidia_cards=1,
    clients_wanted=1200,
    instances=4,
)


def amiss(facts):
    return [check for check in checks(facts) if check.status is not Status.OK]


def test_where_all_is_well_nothing_is_to_be_done():
    assert amiss(WELL) == []
    assert all(check.detail and not check.fix for check in checks(WELL))
    kept = {"certificate": CertificateFacts("/c.pem")}
    for more in (keyed() | kept, keyed(required=False, listen="127.0.0.1:11434") | kept):
        assert amiss(replace(WELL, **more)) == []


def program(**changes):
    return {"program": replace(WELL.program, **changes)}


def binary(**changes):
    return {"binary": replace(WELL.binary, **changes), "externals": {}}


def opened(mode):
    return {"open_to_others": (OpenFacts("/state", mode, 0o077),)}


def keyed(**changes):
    seen = KeysFacts("/keys.json", "0.0.0.0:11434", required=True, is_open=False, valid=2, admins=1)
    return {"keys": replace(seen, **changes)}


def held(listener, **changes):
    return {"ports": (replace(IN_USE, holder=listener),), **changes}


@pytest.mark.parametrize(
    ("changes", "name", "status", "words"),
    [
        (program(python=(3, 10, 9)), "python", "fail", ["3.10.9", "3.11"]),
        (program(yaml_in_c=False), "yaml", "warn", ["C loader", "PyYAML"]),
        (program(uvloop=""), "uvloop", "warn", ["pip install uvloop"]),
        (opened(0o755), "privacy", "warn", ["read /state", "0755", "chmod 0700 /state"]),
        (opened(0o777), "privacy", "warn", ["change /state"]),
        (program(files=1024), "open files", "warn", ["1024", "456", "1200", "LimitNOFILE"]),
        (binary(path="", version=""), "ollama", "fail", ["`ollama`", "ollama.com/download"]),
        (binary(version="", trouble="it hangs"), "ollama", "warn", ["unknown", "it hangs"]),
        (binary(version="0.0.0"), "ollama", "warn", ["unknown", "0.0.0"]),
        ({"externals": {"attic": ""}}, "external", "warn", ["attic", "url"]),
        ({"externals": {"attic": "0.24.0"}}, "versions", "warn", ["0.20.0", "attic 0.24.0"]),
        ({"nvidia_cards": 2}, "gpus", "warn", ["1 of 2", "nvidia-smi"]),
        (
            {"inventory": Inventory((), ("library and module differ",))},
            "gpus",
            "warn",
            ["0 of 1", "library and module differ"],
        ),
        (
            {"inventory": Inventory((CARD,), ("GPU 1 is lost",))},
            "gpus",
            "warn",
            ["NVIDIA L4", "GPU 1 is lost"],
        ),
        ({"misplaced": "no GPU 7", "misplaced_hint": "name 0"}, "placement", "fail", ["name 0"]),
        ({"stores": (StoreFacts("/m", closed=("/m/blobs",)),)}, "store", "fail", ["/m/blobs"]),
        ({"stores": (StoreFacts("/m", read_only=("/m/blobs",)),)}, "store", "warn", ["/m/blobs"]),
        ({"stores": (StoreFacts("/m", False, read_only=("/",)),)}, "store", "fail", ["use /"]),
        ({"stores": (StoreFacts("/m", damage=("x: blob is missing",)),)}, "store", "warn", ["x:"]),
        (
            {"stores": (WELL.stores[0], StoreFacts("/big", closed=("/big",)))},
            "store",
            "fail",
            ["use /big", "`store` of its group"],
        ),
        ({"stores": (StoreFacts("/models", free_bytes=9 * GIB),)}, "store", "warn", ["9.0 GiB"]),
        (
            {"stores": (StoreFacts("/m", free_bytes=500 * GIB, prunable_bytes=3 * GIB),)},
            "store",
            "warn",
            ["3.0 GiB", "`fleet prune`"],
        ),
        (
            {"stores": (StoreFacts("/m", free_bytes=9 * GIB, prunable_bytes=3 * GIB),)},
            "store",
            "warn",
            ["9.0 GiB", "`fleet prune` removes 3.0 GiB"],
        ),
        (held(Listener(99, "nginx")), "port 11434", "fail", ["pid 99 (nginx)", "kill 99"]),
        (held(Listener()), "port 11434", "fail", ["in use by", "ss -ltnp"]),
        (
            {"ports": (replace(IN_USE, trouble="Permission denied"),)},
            "port 11434",
            "fail",
            ["Permission denied", "`listen`"],
        ),
        ({"services": (OTHER,)}, "other ollama", "warn", ["pid 812", "ollama.service", "stop it"]),
        ({"running": (RECORD,)}, "left over", "warn", ["gpu-0 (pid 70)", "`fleet up`"]),
        (keyed(valid=0), "keys", "fail", ["/keys.json", "fleet keys add NAME --role admin"]),
        (keyed(admins=0), "keys", "warn", ["no valid key is an admin's", "--role admin"]),
        (keyed(trouble="it is no file of keys"), "keys", "fail", ["no file of keys", "mend"]),
        (keyed(expired=("ann", "bob")), "keys", "warn", ["ann, bob", "fleet keys rm ann bob"]),
        (
            keyed(required=False, is_open=True, valid=0),
            "keys",
            "warn",
            ["0.0.0.0:11434", "127.0.0.1", "insecure_no_auth"],
        ),
        (
            keyed(required=False, valid=0, trouble="it is no file of keys"),
            "keys",
            "warn",
            ["no file of keys"],
        ),
        (
            {"certificate": CertificateFacts("/c.pem", told="expires on Monday")},
            "certificate",
            "warn",
            ["/c.pem expires on Monday", "no restart"],
        ),
        (
            {"certificate": CertificateFacts("/c.pem", trouble="it is cut short")},
            "certificate",
            "fail",
            ["/c.pem: it is cut short", "PEM"],
        ),
    ],
)  # fmt: skip
def test_each_ill_is_found_alone_and_has_a_remedy(changes, name, status, words):
    (check,) = amiss(replace(WELL, **changes))
    assert (check.name, check.status) == (name, status)
    assert [word for word in words if word not in f"{check.detail} | {check.fix}"] == []


@pytest.mark.parametrize(
    ("version", "unsafe"), [("0.17.0", True), ("0.9.99", True), ("0.17.1", False), ("1.0.0", False)]
)
def test_ollama_before_0_17_1_is_named_with_its_vulnerability(version, unsafe):
    ills = amiss(replace(WELL, **binary(version=version)))
    assert [("CVE-2026-7482" in ill.detail, "0.17.1" in ill.fix) for ill in ills] == (
        [(True, True)] if unsafe else []
    )


def test_no_gpu_is_well_and_says_why():
    none = Inventory(notes=("no driver",), remarks=("no driver",))
    facts = replace(WELL, inventory=none, nvidia_cards=0)
    assert amiss(facts) == []
    assert any("no GPU" in check.detail and "no driver" in check.detail for check in checks(facts))


@pytest.mark.parametrize(
    "facts",
    [
        replace(WELL, fleet_pid=99, running=(RECORD,), **held(Listener(99, "fleet up"))),
        replace(WELL, fleet_pid=99, running=(RECORD,), **held(Listener(70, "ollama serve"))),
    ],
)
def test_what_the_running_fleet_holds_is_its_own(facts):
    """Neither its ports nor its instances are in anyone's way."""
    assert amiss(facts) == []


def test_a_port_held_by_a_service_is_freed_by_ending_the_service():
    facts = replace(WELL, services=(OTHER,), **held(Listener(812, "ollama serve")))
    (port,) = [check for check in amiss(facts) if check.status is Status.FAIL]
    assert "sudo systemctl stop it" in port.fix


def test_a_fleet_of_external_instances_needs_no_ollama_and_no_store():
    facts = replace(
        WELL,
        runs_own=False,
        stores=(StoreFacts("/m", closed=("/m",)),),
        **binary(path="", version=""),
    )
    assert amiss(facts) == []


words = st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=5)
names = st.sampled_from(["", "0.1.0", "0.17.1", "v1.2.3", "dev", "0.0.0"])
some_facts = st.builds(
    Facts,
    binary=st.builds(BinaryFacts, wanted=words, path=words, version=names, trouble=words),
    inventory=st.builds(
        Inventory,
        gpus=st.sampled_from([(), (CARD,)]),
        notes=st.sampled_from([(), ("a note",)]),
        simulated=st.booleans(),
    ),
    stores=st.lists(
        st.builds(
            StoreFacts,
            path=st.just("/m"),
            exists=st.booleans(),
            closed=st.sampled_from([(), ("/m",)]),
            read_only=st.sampled_from([(), ("/m",)]),
            free_bytes=st.none() | st.integers(0, 2**50),
            damage=st.sampled_from([(), ("m: blob 12 is missing",)]),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    program=st.builds(
        ProgramFacts,
        python=st.sampled_from([(3, 9, 0), (3, 13, 0)]),
        yaml_in_c=st.booleans(),
        uvloop=words,
        files=st.integers(0, 2**20),
    ),
    runs_own=st.booleans(),
    ports=st.lists(
        st.builds(
            PortFacts,
            purpose=words,
            host=words,
            port=st.integers(1, 65535),
            trouble=words,
            holder=st.none() | st.builds(Listener, pid=st.integers(0, 99), command=words),
        ),
        max_size=3,
    ).map(tuple),
    services=st.sampled_from([(), (OTHER,)]),
    externals=st.dictionaries(words, names, max_size=3),
    nvidia_cards=st.integers(0, 2),
    misplaced=words,
    misplaced_hint=words,
    placement_notes=st.sampled_from([(), ("a note",)]),
    running=st.sampled_from([(), (RECORD,)]),
    clients_wanted=st.integers(0, 2**20),
    instances=st.integers(0, 100),
    fleet_pid=st.sampled_from([0, 70, 99]),
    keys=st.none() | st.builds(KeysFacts, expired=st.sampled_from([(), ("ann",)])),
    certificate=st.none() | st.builds(CertificateFacts),
)


@given(some_facts)
def test_whatever_is_seen_every_ill_has_a_remedy_and_nothing_else_has(facts):
    for check in checks(facts):
        assert check.name
        assert check.detail
        assert (check.status is Status.OK) == (not check.fix)


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("ollama version is 0.20.0\n", "0.20.0"),
        (
            "Warning: no connection to Ollama\nWarning: client version is 0.20.0\n",
            "0.20.0",
        ),
        ("ollama version is 0.24.0\nWarning: client version is 0.20.0\n", "0.20.0"),
        ("ollama version is \n", ""),
        ("usage: ollama", ""),
        ("", ""),
    ],
)
def test_the_version_is_the_programs_own_not_that_of_a_server_it_reached(output, version):
    assert told_version(output) == version


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.17.1", (0, 17, 1)),
        ("v0.17.1-rc0", (0, 17, 1)),
        ("0.0.0", None),
        ("1.2", None),
        ("x", None),
        ("", None),
    ],
)
def test_versions_are_numbers_or_unknown(text, numbers):
    assert parse_version(text) == numbers


@pytest.mark.parametrize(
    ("folder", "key", "expected"),
    [
        (0o700, 0o600, []),
        (0o700, 0o640, []),
        (0o755, 0o600, ["state"]),
        (0o730, 0o600, ["state"]),
        (0o700, 0o644, ["fleet.key"]),
        (0o777, 0o666, ["state", "fleet.key"]),
    ],
)
def test_what_others_can_get_at_is_seen(tmp_path, folder, key, expected):
    """A folder that was there keeps its mode; of a key a group may be let in on purpose."""
    state, cert = tmp_path / "state", tmp_path / "fleet.pem"
    state.mkdir()
    cert.with_suffix(".key").touch()
    Directories(state, tmp_path / "socket").create()
    state.chmod(folder)
    cert.with_suffix(".key").chmod(key)
    config = Config(tls=TlsConfig(cert=cert, key=cert.with_suffix(".key")))
    assert [Path(found.path).name for found in open_to_others(config, state)] == expected


@pytest.mark.parametrize(("mode", "expected"), [(0o600, []), (0o640, ["keys.json"])])
def test_a_file_of_keys_that_others_may_read_is_seen_wherever_it_is(tmp_path, mode, expected):
    """Its digests are of no use to them; names, models and budgets are theirs to see."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder, named in ((tmp_path, {}), (elsewhere, {"keys_file": str(elsewhere / "keys.json")})):
        file = folder / "keys.json"
        file.touch()
        file.chmod(mode)
        found = open_to_others(Config(auth=named), tmp_path / "no state" if named else tmp_path)
        assert [Path(each.path).name for each in found if each.path == str(file)] == expected
