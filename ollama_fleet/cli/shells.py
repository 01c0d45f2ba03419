"""Completion in a shell: the scripts, and what they ask when somebody presses TAB.

Click's, mended: bash ends a word at a colon, so that after `qwen3:` nothing would be found, and zsh
and fish replace the whole of `--on=gp`, not what stands behind the sign.
"""

import os
from typing import Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from ollama_fleet.cli.commands import VARIABLE

_BASH: Final = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" type value taken=""
    local word="${line##*[[:space:]=]}"
    # What stands before a colon bash has taken as words of their own: it is not to come again.
    if [[ $COMP_WORDBREAKS == *:* && $word == *:* ]]; then taken="${word%%:*}:"; fi
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$taken"}") ;;
        esac
    done < <(COMP_WORDS="$line" %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Takes the line up to the cursor, instead of the words that bash makes of it."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words that are there, and what is there of the one that is being typed."""
        line = os.environ["COMP_WORDS"]
        _, *words = split_arg_string(line) or [""]
        incomplete = "" if not words or line[-1:].isspace() else words.pop()
        return words, incomplete


class _WholeWords(ShellComplete):
    """Offers a value that is written to its option with that option before it."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """What may stand there."""
        found = super().get_completions(args, incomplete)
        option, sign, _ = incomplete.partition("=")
        if not (sign and option.startswith("-")):
            return found
        return [CompletionItem(f"{option}={each.value}", each.type, each.help) for each in found]


class Zsh(_WholeWords, ZshComplete):
    """Click's, with whole words."""


class Fish(_WholeWords, FishComplete):
    """Click's, with whole words."""


def register() -> None:
    """Let click find them."""
    for kind in (Bash, Zsh, Fish):
        add_completion_class(kind)


def script(shell: str, root: click.Command, program: str) -> str:
    """What `bash`, `zsh` or `fish` is to run, so that it completes the lines of a program."""
    register()
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(root, {}, program, VARIABLE).source()
