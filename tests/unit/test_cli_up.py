"""`fleet up` in the background: the command line it hands on, and the last words it hears."""

from pathlib import Path

import pytest

from ollama_fleet.cli.background import EndedAtOnce, _last_words
from ollama_fleet.cli.commands import fleet
from ollama_fleet.cli.commands.up import Wanted, command
from ollama_fleet.cli.options import Options
from ollama_fleet.errors import Exit


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (Options(), Wanted(None, None, insecure_no_auth=False)),
        (Options(config=Path("-x y.yaml")), Wanted("", None, insecure_no_auth=True)),
        (Options(verbose=True), Wanted("my box.yaml", ":11500", insecure_no_auth=False)),
    ],
)
def test_a_fleet_in_the_background_gets_the_same_command_line(options, wanted):
    """Parsing what is handed on gives what was asked for, an empty `--simulate` included."""
    arguments = [*wanted.arguments(options)]
    with (
        fleet.make_context("fleet", ["up", *arguments]) as root,
        command.make_context("up", arguments, parent=root) as ctx,
    ):
        given = {key: ctx.params[key] for key in ("simulate", "listen", "insecure_no_auth")}
        assert Wanted(**given) == wanted
        assert Options(**ctx.meta.get("ollama_fleet.options", {})) == options


def test_simulate_takes_a_profile_or_none():
    """`--simulate` may stand alone, before another option or a profile of its own."""
    for words, simulate in (
        (["--simulate"], ""),
        (["--simulate", "-d"], ""),
        (["--simulate", "8xH100", "-d"], "8xH100"),
        (["-d"], None),
    ):
        with command.make_context("up", list(words)) as ctx:
            assert ctx.params["simulate"] == simulate


def test_flags_that_are_keys_override_the_configuration():
    """Only what was given on the command line overrides fleet.yaml."""
    assert Wanted(None, None, insecure_no_auth=False).overrides == {}
    assert Wanted(None, ":1", insecure_no_auth=True).overrides == {
        "listen": ":1",
        "insecure_no_auth": "true",
    }


def test_the_last_words_are_the_error_and_not_the_log_before_it():
    """Of all that a fleet has written, its user is told why it ended, and nothing else."""
    log = ['{"event": "x"}', "fleet: a:1:1: wrong", "fleet: a:2:1: too; mend it"]
    assert _last_words(log) == "a:1:1: wrong\na:2:1: too; mend it"


def test_without_an_error_the_last_words_are_the_last_lines():
    """A process that died of a defect has its traceback shown, as far as it matters."""
    log = [f"line {n}" for n in range(50)]
    reason = _last_words(log)
    assert reason.splitlines()[-1] == "line 49"
    assert len(reason.splitlines()) == 20


@pytest.mark.parametrize(("code", "exit_code"), [(78, 78), (75, 75), (1, 1), (-9, 1), (3, 1)])
def test_the_exit_code_of_a_fleet_that_ended_is_passed_on(code, exit_code):
    """Codes with a meaning keep it; a signal, or a number of no meaning, is a failure."""
    assert EndedAtOnce("r", code).exit_code == Exit(exit_code)
