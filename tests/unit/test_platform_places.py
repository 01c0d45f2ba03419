"""What is made of a Mac, and of Windows: where models run, what the doctor says, whose app runs."""

import os
import platform
import select
import signal
import socket
import sys
from dataclasses import replace
from itertools import count

import psutil
import pytest

from ollama_fleet.config import Config
from ollama_fleet.control.repair.usage import UsageMeter
from ollama_fleet.control.service import describe
from ollama_fleet.control.service.processes import ServerProcess, is_server
from ollama_fleet.doctor import Facts, Status, checks
from ollama_fleet.doctor.facts import BinaryFacts, ProgramFacts
from ollama_fleet.doctor.lacks import lacking
from ollama_fleet.gpu import Inventory
from ollama_fleet.gpu.discover import merge_inventories, sources
from ollama_fleet.placement import Models, place
from ollama_fleet.system.needs import NoSystemForInstances, require_keeping

pytestmark = pytest.mark.platform


KERNEL = "Darwin Kernel Version 24.0.0: Wed Aug  7 03:08:06 PDT 2024; root:xnu-11215.1.9~22/"


def inventory_of(kernel, machine, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "version", lambda: KERNEL + kernel)
    return merge_inventories([source.inventory() for source in sources()])


def placed(inventory):
    return place(Config(), inventory, ports=count(11435), inherited={}, models=Models())


@pytest.mark.parametrize("machine", ["arm64", "x86_64"])
def test_on_apples_chips_one_instance_runs_on_metal(machine, monkeypatch):
    """Also where Python runs in Rosetta, and takes the machine for an older one."""
    found = placed(inventory_of("RELEASE_ARM64_T6031", machine, monkeypatch))
    (instance,) = found.instances
    assert instance.gpus == ()
    assert "Metal" in " ".join(found.notes)
    assert "CPU" not in " ".join(found.notes)
    assert instance.cpus == ()


def test_an_older_mac_has_one_instance_on_the_cpu(monkeypatch):
    found = placed(inventory_of("RELEASE_X86_64", "x86_64", monkeypatch))
    assert len(found.instances) == 1
    assert "runs on the CPU" in " ".join(found.notes)


def seen(**changes):
    well = Facts(
        binary=BinaryFacts("ollama", "/bin/ollama", "0.20.0"),
        inventory=Inventory(own_gpu="Metal"),
        stores=(),
        program=ProgramFacts((3, 12, 1), yaml_in_c=True, uvloop="0.22.1", files=65536),
    )
    return {check.name: check for check in checks(replace(well, **changes))}


def test_the_doctor_names_metal_and_finds_nothing_wrong_with_it():
    check = seen()["gpus"]
    assert check.status is Status.OK
    assert "Metal" in check.detail


def test_the_doctor_has_nothing_to_say_of_linux():
    assert list(lacking()) == []
    assert "platform" not in seen()


def test_the_doctor_says_what_is_less_on_macos(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    for module, name in (
        (signal, "pidfd_send_signal"),
        (os, "sched_setaffinity"),
        (socket, "TCP_USER_TIMEOUT"),
    ):
        monkeypatch.delattr(module, name)
    monkeypatch.setattr(os.path, "exists", lambda _path: False)
    lacks = tuple(lacking())
    check = seen(lacks=lacks)["platform"]
    assert check.status is Status.WARN
    assert check.fix
    for words in ("until the next `fleet up`", "/proc", "pidfd", "CPUs", "vanished"):
        assert sum(words in each for each in lacks) == 1, words
        assert words in check.detail


@pytest.mark.parametrize(("runs_own", "status"), [(True, Status.FAIL), (False, Status.WARN)])
def test_without_process_groups_the_doctor_refuses_instances_and_nothing_else(
    runs_own, status, monkeypatch
):
    for module, name in ((os, "killpg"), (select, "poll")):
        monkeypatch.delattr(module, name)
    program = ProgramFacts((3, 12, 1), yaml_in_c=True, uvloop="", files=512)
    lacks = tuple(lacking())
    found = seen(lacks=lacks, keeps_instances=False, runs_own=runs_own, program=program)
    assert "uvloop" not in found, "there is none to install"
    check = found["platform"]
    assert check.status is status
    assert "WSL 2" in check.fix
    assert "`instances:`" in check.fix
    for words in ("no process groups", "512 connections"):
        assert sum(words in each for each in lacks) == 1, words
        assert words in check.detail


def test_a_fleet_in_front_of_others_alone_needs_no_process_groups(monkeypatch):
    require_keeping(["gpu-0"])
    monkeypatch.delattr(os, "killpg")
    require_keeping([])
    with pytest.raises(NoSystemForInstances, match="gpu-0, gpu-1"):
        require_keeping(["gpu-0", "gpu-1"])


APP = "/Applications/Ollama.app/Contents/Resources/ollama"
WINDOWS = "C:\\Users\\ann\\AppData\\Local\\Programs\\Ollama\\ollama.exe"
BREW = "/opt/homebrew/Cellar/ollama/0.31.1/bin/ollama"
SERVER = ServerProcess(812, "ann", "", {}, (("127.0.0.1", 11434),), "")


@pytest.mark.parametrize(
    ("program", "manager", "stop", "begin"),
    [
        (APP, "Ollama.app", "osascript -e 'quit app \"Ollama\"'", "open -a Ollama"),
        (
            WINDOWS,
            "the Ollama app",
            'taskkill /f /t /im "ollama app.exe"',
            'start "" "C:\\Users\\ann\\AppData\\Local\\Programs\\Ollama\\ollama app.exe"',
        ),
        ("D:\\bin\\ollama.exe", "", "taskkill /f /t /pid 812", "ollama serve"),
        ("/opt/homebrew/bin/ollama", "", "kill 812", "ollama serve"),
        (BREW, "Homebrew", "brew services stop ollama", "brew services start ollama"),
    ],
)
def test_an_app_is_quit_and_not_its_server_which_it_would_start_again(
    program, manager, stop, begin
):
    found = describe(replace(SERVER, program=program, ppid=1))
    assert (found.managed_by, found.stop) == (manager, stop)
    assert found.begin.endswith(begin)


def test_homebrews_ollama_that_somebody_has_started_by_hand_is_no_service():
    """It is not launchd who has started it, and would not start it again."""
    found = describe(replace(SERVER, program=BREW, ppid=811))
    assert (found.managed_by, found.stop) == ("", "kill 812")
    for_all = describe(replace(SERVER, program=BREW, ppid=1, environment=None))
    assert for_all.stop == "sudo brew services stop ollama"


def test_a_server_on_windows_is_known_by_its_command_line():
    assert is_server(["ollama.exe", "serve"])
    assert not is_server(["ollama app.exe", "serve"])


def test_what_processes_do_is_read_where_nobody_counts_the_bytes_they_read(monkeypatch):
    """On macOS psutil has no `io_counters`: CPU time is what is left."""
    monkeypatch.delattr(psutil.Process, "io_counters")
    meter, leaders = UsageMeter(), {"i": os.getpgid(0)}
    assert meter.read(leaders, 1.0) == {}
    work = meter.read(leaders, 2.0)["i"]
    assert work.read_bytes_per_s == 0.0
    assert work.cpus >= 0.0
