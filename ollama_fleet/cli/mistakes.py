"""What is wrong with a command line, and what would be right, in one line. Pure."""

from collections.abc import Sequence

import click

_OFFERED = 3  # of what may have been meant


def describe(error: click.ClickException) -> tuple[str, str]:
    """The cause and the way out of an error that click has found."""
    if isinstance(error, click.NoSuchCommand):
        return f"no command is called {error.command_name}", _offer(error.possibilities, error)
    if isinstance(error, click.NoSuchOption):
        return f"no option is called {error.option_name}", _offer(error.possibilities, error)
    told = " ".join(error.format_message().split()).rstrip(".")
    cause = told[:1].lower() + told[1:]
    return cause, f"`{_help(error)}` says how" if _help(error) else ""


def _offer(possible: Sequence[str] | None, error: click.UsageError) -> str:
    if possible:
        return f"did you mean {' or '.join(possible[:_OFFERED])}?"
    return f"`{_help(error)}` lists them" if _help(error) else ""


def _help(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{context.command_path} --help" if context else ""
