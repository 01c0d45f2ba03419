"""What is wrong with a command line, and what would be right, in one line. Pure."""

from collections.abc import Sequence

import click

_OFFERED = 3  # of what may have been meant


def describe(error: click.ClickException) -> str:
    """The cause and the way out of an error that click has found."""
    if isinstance(error, click.NoSuchCommand):
        cause = f"no command is called {error.command_name}"
        return f"{cause}; {_offer(error.possibilities, error)}"
    if isinstance(error, click.NoSuchOption):
        cause = f"no option is called {error.option_name}"
        return f"{cause}; {_offer(error.possibilities, error)}"
    told = " ".join(error.format_message().split()).rstrip(".")
    cause = told[:1].lower() + told[1:]
    if "; " in cause or not isinstance(error, click.UsageError):
        return cause  # who raised it has named the way out
    return f"{cause}; `{_help(error)}` says how"


def _offer(possible: Sequence[str] | None, error: click.UsageError) -> str:
    if possible:
        return f"did you mean {' or '.join(possible[:_OFFERED])}?"
    return f"`{_help(error)}` lists them"


def _help(error: click.UsageError) -> str:
    return f"{error.ctx.command_path if error.ctx else 'fleet'} --help"
