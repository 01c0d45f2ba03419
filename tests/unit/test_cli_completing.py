"""What is offered after TAB, and what that may cost."""

import subprocess
import sys
from threading import Event

import click
import pytest

from ollama_fleet import cli
from ollama_fleet.cli.commands import SECTIONS, VARIABLE, fleet
from ollama_fleet.cli.completing import within
from ollama_fleet.cli.shells import Bash, Fish, Zsh
from ollama_fleet.errors import NotRunning


def test_what_comes_in_time_is_offered():
    assert within(60.0, lambda: ("gpu0", "gpu1")) == ["gpu0", "gpu1"]


def test_what_comes_late_is_not_waited_for():
    """A fleet that does not answer costs the budget, not the shell."""
    answered = Event()

    def ask():
        answered.wait()
        return ("gpu0",)

    assert within(0.01, ask) == []
    answered.set()


def test_no_fleet_is_no_error():
    def ask():
        raise NotRunning("no fleet is running")

    assert within(60.0, ask) == []


def test_every_command_is_offered_and_none_is_imported():
    """Names of commands come from the table: their modules, and what these import, stay out."""
    program = (
        "import sys, click; from ollama_fleet.cli.commands import fleet;"
        "found = fleet.shell_complete(click.Context(fleet), '');"
        "print(*(each.value for each in found));"
        "print(*(m for m in sys.modules if m.startswith('ollama_fleet.cli.commands.')))"
    )
    run = [sys.executable, "-c", program]
    names, imported = subprocess.run(
        run, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert names.split() == [name for section in SECTIONS.values() for name in section]
    assert imported == ""


@pytest.mark.parametrize(
    ("line", "words", "incomplete"),
    [
        ("fleet ", [], ""),
        ("fleet sta", [], "sta"),
        ("fleet show qwen3:8", ["show"], "qwen3:8"),
        ("fleet show qwen3:8b ", ["show", "qwen3:8b"], ""),
        ("fleet  cp 'a b' c", ["cp", "a b"], "c"),
        ("fleet load --on=gpu0", ["load"], "--on=gpu0"),
        ("", [], ""),
    ],
)
def test_in_bash_a_word_ends_at_a_blank_and_not_at_a_colon(monkeypatch, line, words, incomplete):
    monkeypatch.setenv("COMP_WORDS", line)
    assert Bash(fleet, {}, "fleet", VARIABLE).get_completion_args() == (words, incomplete)


@pytest.mark.parametrize("kind", [Zsh, Fish])
def test_where_a_shell_replaces_whole_words_it_gets_whole_words(kind):
    """The option that a value is written to comes with it."""
    shell = kind(fleet, {}, "fleet", VARIABLE)
    offered = [each.value for each in shell.get_completions(["top"], "--view=de")]
    assert offered == ["--view=decisions"]
    assert [e.value for e in shell.get_completions(["top", "--view"], "de")] == ["decisions"]


@pytest.mark.parametrize("program", ["fleet", "ollama-fleet"])
def test_a_script_completes_the_program_that_printed_it(monkeypatch, capsys, program):
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/{program}", "completion", "bash"])
    assert cli.run(["completion", "bash"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-1] == program


def test_every_name_of_something_that_is_there_can_be_completed():
    """Where an instance, a group or a model is meant, TAB knows them; a new name it cannot."""
    context, silent = click.Context(fleet), set()
    for name in fleet.list_commands(context):
        for param in fleet.get_command(context, name).params:
            shown = (param.metavar or param.name or "").upper()
            if any(word in shown for word in ("INSTANCE", "GROUP", "MODEL")) and not (
                param._custom_shell_complete
            ):
                silent.add(f"{name} {param.name}")
    # No running fleet is asked there.
    assert silent == {"replay model", "replay add_gpu"}
