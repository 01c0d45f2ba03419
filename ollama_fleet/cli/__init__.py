"""The command line: parse, call, print.

Nothing heavy is imported before a command needs it: `fleet --help` costs Python, click and the
table of commands. Here is the one place where an error becomes a message and an exit code.
"""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from ollama_fleet.cli.commands import VARIABLE, fleet
from ollama_fleet.errors import Exit, FleetError


def main() -> NoReturn:
    """Run the command line of this process and leave with its exit code."""
    _open_what_is_closed()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; an error that an operator can act on is told, not raised."""
    if VARIABLE in os.environ:
        from ollama_fleet.cli.shells import register

        register()
    try:
        code = fleet.main(list(arguments), prog_name="fleet", standalone_mode=False)
    except FleetError as error:
        _tell(error.told)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        from ollama_fleet.cli.mistakes import describe

        _tell(describe(error))
        return error.exit_code
    except click.Abort:  # Ctrl-C; whoever had something to say about it has said it
        return Exit.INTERRUPTED
    except (OSError, UnicodeEncodeError) as error:
        _tell(_about(error))
        return Exit.NOT_ALLOWED if isinstance(error, PermissionError) else Exit.FAILED
    return code if isinstance(code, int) else Exit.OK


def _open_what_is_closed() -> None:
    """Make of each standard stream that is closed (`2>&-`) one that nobody reads.

    Else Python has none, and what is opened next, a socket say, would be what a child writes to.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: the stream's own
            os.set_inheritable(fd, True)
            setattr(sys, name, os.fdopen(fd, mode))


def _tell(told: str) -> None:
    for line in told.splitlines():
        click.echo(f"fleet: {line}", err=True)


def _about(error: OSError | UnicodeEncodeError) -> str:
    """Name the file, or the text, and the cause, where the system tells them."""
    if isinstance(error, UnicodeEncodeError):
        wrong = error.object[error.start : error.end]
        return f"{wrong!a} cannot be written as {error.encoding}; was it typed in another encoding?"
    cause = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {cause}" if error.filename else cause
