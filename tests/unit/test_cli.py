"""The command line itself: what it tells about its commands, options, errors and exit codes."""

import json
import re
from pathlib import Path

import click
import pytest

from ollama_fleet import cli
from ollama_fleet.cli.commands import ALIASES, SECTIONS, fleet
from ollama_fleet.cli.options import Command, Group, Options, Output, pass_options
from ollama_fleet.errors import (
    ConfigError,
    Exit,
    FleetError,
    FleetHeld,
    NotRunning,
    PlacementError,
    PortTaken,
    StartFailed,
    nothing_called,
)

NAMES = [name for section in SECTIONS.values() for name in section]
MANUAL = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def _command(name: str) -> click.Command:
    command = fleet.get_command(click.Context(fleet), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself(name):
    """A command is called what the table says, and its help begins with a sentence."""
    command = _command(name)
    assert command.name == name
    assert command.help
    assert command.help.split("\n\n")[0].endswith(".")
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, f"{name}: {param.opts} has no help"


def test_every_exit_code_is_in_the_manual():
    """docs/cli.md explains each exit code, and no other."""
    codes = re.findall(r"^\| (\d+) \|", MANUAL, re.MULTILINE)
    assert [int(code) for code in codes] == sorted(Exit)


def test_an_alias_is_the_same_command():
    """`fleet ps` is `fleet status`."""
    assert {alias: _command(alias).name for alias in ALIASES} == ALIASES


def test_help_lists_every_command_once(capsys):
    """`fleet --help` has a line for each command, with the words of the table."""
    assert cli.run(["--help"]) == Exit.OK
    told = capsys.readouterr().out
    for section in SECTIONS.values():
        for name, words in section.items():
            assert len(re.findall(rf"^  {name} +{re.escape(words)}$", told, re.MULTILINE)) == 1


def _probe() -> tuple[Group, list[Options]]:
    """A command line of one command, which keeps the options it is called with."""
    seen: list[Options] = []

    @click.command("probe", cls=Command)
    @pass_options
    def probe(options: Options) -> None:
        seen.append(options)

    group = Group("root", callback=lambda: None)
    group.add_command(probe)
    return group, seen


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["-o", "json"], Options(output=Output.JSON)),
        (["-c", "x.yaml"], Options(config=Path("x.yaml"))),
        (["-q"], Options(quiet=True)),
        (["--verbose"], Options(verbose=True)),
        (["-o", "wide", "-v", "-c", "y"], Options(Path("y"), Output.WIDE, verbose=True)),
    ],
)
def test_a_global_option_means_the_same_before_and_after_the_command(words, options):
    """Where a global option stands does not matter, and what is not given is the default."""
    group, seen = _probe()
    group.main([*words, "probe"], standalone_mode=False)
    group.main(["probe", *words], standalone_mode=False)
    group.main([*words[:2], "probe", *words[2:]], standalone_mode=False)
    assert seen == [options] * 3


def test_the_last_of_two_global_options_counts():
    """A script that sets a form can be overruled behind the command."""
    group, seen = _probe()
    group.main(["-o", "json", "probe", "-o", "yaml"], standalone_mode=False)
    assert seen == [Options(output=Output.YAML)]


def _raising(error: BaseException) -> click.Command:
    def fail() -> None:
        raise error

    return click.Command("fleet", callback=fail)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FleetError("r", "h"), 1),
        (StartFailed("r", "h"), 1),
        (NotRunning("r", "h"), 69),
        (FleetHeld("r", "h"), 75),
        (PlacementError("r", "h"), 78),
        (PortTaken("r", "h"), 78),
    ],
)
def test_an_error_is_its_reason_its_hint_and_its_exit_code(monkeypatch, capsys, error, code):
    """A FleetError becomes a line on stderr and an exit code; never a traceback."""
    monkeypatch.setattr(cli, "fleet", _raising(error))
    assert cli.run([]) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", "fleet: r; h\n")


def test_a_name_that_is_not_there_is_answered_with_the_nearest_or_with_all():
    """One that comes near, in whatever case, is offered; else what there is."""
    known = ("gpu0", "gpu1", "attic")
    assert nothing_called("instance", ["Attik"], known).hint == "did you mean attic?"
    assert nothing_called("instance", ["nix"], known).hint == "there are gpu0, gpu1, attic"
    assert nothing_called("instance", ["gpu9"], known).hint == "did you mean gpu0 or gpu1?"
    assert nothing_called("instance", ["gpu10"], known).hint == "did you mean gpu0 or gpu1?"
    three = ("gpu0", "gpu1", "gpu2")
    assert nothing_called("instance", ["gpu9"], three).hint == "there are gpu0, gpu1, gpu2"
    near = ("embed", "embedding")
    assert nothing_called("group", ["embeds"], near).hint == "did you mean embed?"
    assert nothing_called("group", ["embeding"], near).hint == "did you mean embedding?"
    assert nothing_called("instance", ["nix"], known, "see there").hint == "see there"
    assert nothing_called("instance", ["nix"], ()).hint == "there are none"
    both = nothing_called("instance", ["nix", "atic"], known)
    assert str(both) == "no instance is called nix, atic (did you mean attic?)"


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ConfigError(("a:1:1: x", "a:2:1: y")), 78, "fleet: a:1:1: x\nfleet: a:2:1: y\n"),
        (click.Abort(), 130, ""),
        (PermissionError(13, "Permission denied", "/f"), 77, "fleet: /f: Permission denied\n"),
        (IsADirectoryError(21, "Is a directory", "/d"), 1, "fleet: /d: Is a directory\n"),
    ],
)
def test_other_expected_errors_are_told_in_a_line_too(monkeypatch, capsys, error, code, told):
    """Every problem of a configuration has its line; files name themselves; Ctrl-C is silent."""
    monkeypatch.setattr(cli, "fleet", _raising(error))
    assert cli.run([]) == code
    assert capsys.readouterr().err == told


def test_a_defect_is_not_hidden(monkeypatch):
    """An error that nobody expects is raised, so that its traceback can be reported."""
    monkeypatch.setattr(cli, "fleet", _raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.run([])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("stauts", "no command is called stauts; did you mean status or restart?"),
        ("lss", "no command is called lss; did you mean ls?"),
        ("xyzzy", "no command is called xyzzy; `fleet --help` lists them"),
        ("config chek", "no command is called chek; did you mean check or schema?"),
        ("logs --folow", "no option is called --folow; did you mean --follow?"),
        ("logs --xyzzy", "no option is called --xyzzy; `fleet logs --help` lists them"),
        ("rm", "missing argument 'MODEL…'; `fleet rm --help` says how"),
        ("pull", "name models, or say --all; `fleet pull --help` says how"),
        (
            "-c new.yaml reload",
            "a fleet reads the file that it was started with; leave -c out",
        ),
        (
            "events --kind exti",
            (
                "invalid value for '--kind': no kind of event is called exti; "
                "docs/events.md lists them"
            ),
        ),
        (
            "logs --tail -1",
            "invalid value for '--tail': -1 is not in the range x>=0; `fleet logs --help` says how",
        ),
    ],
)
def test_a_wrong_command_line_is_usage(capsys, line, told):
    """It ends with 2 and a line that says what is wrong, and where it is said how it is right."""
    assert cli.run(line.split()) == Exit.USAGE
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"fleet: {told}\n")


def test_config_check_tells_every_mistake_and_where_it_is(tmp_path, monkeypatch, capsys):
    """`config check` exits with 78 and a line per mistake; its JSON has the same lines."""
    monkeypatch.chdir(tmp_path)
    Path("fleet.yaml").write_text("listn: 1\nqueue: {limit: x}\n")
    assert cli.run(["config", "check", "-o", "json"]) == Exit.CONFIG
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["schema_version"] == 1
    assert not document["ok"]
    assert err == "".join(f"fleet: {problem}\n" for problem in document["problems"])
    assert [p.split(": ")[0] for p in document["problems"]] == ["fleet.yaml:1:1", "fleet.yaml:2:16"]


def test_config_show_prints_what_loads_to_the_same(tmp_path, monkeypatch, capsys):
    """What `config show` prints is a fleet.yaml of the same meaning, whatever comments it has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLEET_LISTEN", raising=False)
    Path("fleet.yaml").write_text("listen: 127.0.0.1:4711\n")
    assert cli.run(["config", "show", "--origin"]) == Exit.OK
    shown = capsys.readouterr().out
    assert "listen: 127.0.0.1:4711  # fleet.yaml:1:1" in shown
    Path("other.yaml").write_text(shown)
    assert cli.run(["-c", "other.yaml", "config", "show", "-o", "json"]) == Exit.OK
    first = json.loads(capsys.readouterr().out)["config"]
    assert cli.run(["config", "show", "-o", "json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["config"] == first


def test_completion_scripts_are_for_fleet(capsys):
    """Each shell gets a script that asks `fleet` itself."""
    for shell in ("bash", "zsh", "fish"):
        assert cli.run(["completion", shell]) == Exit.OK
        assert f"_FLEET_COMPLETE={shell}_complete" in capsys.readouterr().out
