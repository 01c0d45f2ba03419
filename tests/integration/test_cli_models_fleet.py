"""The commands about models, on a whole simulated fleet: what they print, and what then is so."""

import json
import os
import pty
import re
from contextlib import suppress

import pytest
from cli_fixtures import Cli, until


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A simulated fleet of gpu-0 and gpu-1, which has the model tiny."""
    cli = Cli(tmp_path_factory.mktemp("fleet"))
    cli.environ["FLEET_DEFAULTS__KEEP_ALIVE"] = "-1"  # time passes fifty times as fast for it
    done = cli.run(*cli.up, "--wait", "--wait-timeout", "50s")
    assert done.code == 0, done.err
    yield cli
    cli.end()


@pytest.fixture
def tiny(fleet):
    """The fleet with tiny on disk and nothing else, wherever the last test left it."""
    for model in listed(fleet):
        fleet.run("rm", "--force", model)
    assert fleet.run("pull", "-q", "tiny").code == 0
    return fleet


def listed(fleet):
    """The presence of each model by instance, as `fleet list` tells programs."""
    document = json.loads(fleet.run("list", "-o", "json").out)
    assert document["schema_version"] == 1
    return {
        model["name"]: {place["instance"]: place["presence"] for place in model["places"]}
        for model in document["models"]
    }


def test_list_has_the_columns_of_ollamas_list_and_one_per_instance(tiny):
    lines = tiny.run("list").out.splitlines()
    assert lines[0].split() == ["NAME", "ID", "SIZE", "MODIFIED", "gpu-0", "gpu-1"]
    assert lines[1].startswith("tiny:latest  ")
    assert lines[1].split()[-2:] == ["disk", "disk"]
    assert tiny.run("ls", "TIN").out.splitlines()[1].split()[0] == "tiny:latest"
    done = tiny.run("list", "nix")
    told = "fleet: no model's name begins with nix; `fleet list` shows all\n"
    assert (done.code, done.err) == (1, told)


def test_a_model_is_loaded_and_unloaded_where_it_is_said(tiny):
    done = tiny.run("load", "tiny", "--on", "gpu-1")
    assert done.code == 0, done.err
    assert done.out.startswith("gpu-1: loaded in ")
    assert listed(tiny)["tiny:latest"] == {"gpu-0": "on_disk", "gpu-1": "resident"}
    table = tiny.run("list").out.splitlines()
    assert table[1].split()[-2:] == ["disk", "gpu"]
    document = json.loads(tiny.run("load", "tiny", "-o", "json").out)
    steps = {each["instance"]: each["step"] for each in document["instances"]}
    assert steps == {"gpu-0": "loaded", "gpu-1": "resident"}
    done = tiny.run("stop", "tiny", "--on", "gpu-0,gpu-1")
    assert (done.code, len(done.out.splitlines())) == (0, 2)
    assert listed(tiny)["tiny:latest"] == {"gpu-0": "on_disk", "gpu-1": "on_disk"}
    assert "gpu-0: it was not in memory" in tiny.run("stop", "tiny").out


def test_what_cannot_be_loaded_is_named_and_fails(tiny):
    done = tiny.run("load", "tiny", "--on", "gpu-7")
    assert (done.code, "gpu-0 or gpu-1" in done.err) == (1, True)
    done = tiny.run("load", "tinny")
    assert (done.code, "did you mean tiny:latest?" in done.err) == (1, True)


def test_a_copy_is_there_for_everyone_at_once_and_is_removed_alone(tiny):
    done = tiny.run("cp", "tiny", "mine/small:1")
    assert (done.code, done.out) == (0, "copied tiny to mine/small:1\n")
    on_disk = {"gpu-0": "on_disk", "gpu-1": "on_disk"}
    assert listed(tiny) == {"mine/small:1": on_disk, "tiny:latest": on_disk}
    done = tiny.run("rm", "mine/small:1", "nix", "tiny")
    assert (done.code, done.out) == (1, "removed mine/small:1\nremoved tiny\n")
    assert done.err.startswith("fleet: no instance has a model nix; `fleet pull nix` downloads it")
    assert listed(tiny) == {}


def test_a_model_in_memory_is_removed_only_by_force(tiny):
    assert tiny.run("load", "-q", "tiny", "--on", "gpu-0").code == 0
    done = tiny.run("rm", "tiny")
    assert (done.code, done.out) == (1, "")
    assert "tiny is in memory of gpu-0" in done.err
    assert "tiny:latest" in listed(tiny)
    assert tiny.run("rm", "tiny", "--force").code == 0
    assert listed(tiny) == {}


def test_show_tells_what_a_model_is_and_where(tiny):
    shown = tiny.run("show", "tiny").out
    assert "architecture        llama\n" in shown
    assert "\n  Where\n    gpu-0    disk\n    gpu-1    disk\n" in shown
    rows = re.findall(r"  (gpu-\d) +\S+ [KM]iB computed +not measured +2 x 8192 tokens", shown)
    assert rows == ["gpu-0", "gpu-1"]
    assert "\nFROM " in tiny.run("show", "tiny", "--modelfile").out
    assert "  Tensors\n" in tiny.run("show", "-v", "tiny").out
    document = json.loads(tiny.run("show", "tiny", "-o", "json").out)
    assert document["details"]["quantization_level"] == "F16"
    assert [model["name"] for model in document["models"]] == ["tiny:latest"]
    assert [each["slots"] for each in document["footprints"]] == [2, 2]
    done = tiny.run("show", "nix")
    told = "fleet: no instance has a model nix; `fleet pull nix` downloads it\n"
    assert (done.code, done.err) == (1, told)


def test_a_pull_that_runs_is_seen_in_the_list(tiny):
    with tiny.running("pull", "huge"):
        until(
            lambda: listed(tiny).get("huge:latest") == {"gpu-0": "partial", "gpu-1": "partial"},
            "both instances are getting it",
        )
        assert tiny.run("list", "huge").out.splitlines()[1].split()[-2] == "part"
    until(lambda: "huge:latest" not in listed(tiny), "nobody gets it any more")


def test_completion_offers_models_instances_and_groups(tiny):
    def offered(words):
        environ = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        done = tiny.run(_FLEET_COMPLETE="bash_complete", **environ)
        return [line.partition(",")[2] for line in done.out.split()]

    for words, names in (
        ("fleet rm ti", ["tiny:latest"]),
        ("fleet load tiny --on gpu", ["gpu-0", "gpu-1"]),
    ):  # where the fleet takes longer than a fifth of a second nothing is offered
        until(lambda: offered(words) == names, f"{names} for {words!r}")  # noqa: B023 - called here


def test_a_narrow_terminal_sees_as_much_as_fits(tiny):
    """On a terminal of 50 places no line is longer."""
    ours, theirs = pty.openpty()
    environ = {**tiny.environ, "COLUMNS": "50", "TERM": "xterm", "NO_COLOR": "1"}
    plain, tiny.environ = tiny.environ, environ
    try:
        with tiny.running("list", stdout=theirs):
            os.close(theirs)
            shown = _read(ours)
    finally:
        tiny.environ = plain
        os.close(ours)
    lines = shown.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "MODIFIED", "WHERE"]
    assert lines[1].endswith("2 disk")
    assert max(map(len, lines)) <= 50


def _read(terminal):
    """All that a program writes to a terminal until it ends."""
    shown = b""
    with suppress(OSError):  # the last who had the terminal has left
        while piece := os.read(terminal, 65536):
            shown += piece
    return shown.decode()
