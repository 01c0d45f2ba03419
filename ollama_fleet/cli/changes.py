"""How changes of stores ended, for people and for programs."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from ollama_fleet.cli.options import Options
from ollama_fleet.cli.printing import emit
from ollama_fleet.cli.table import clean
from ollama_fleet.errors import Exit

Document = Mapping[str, Any]
Change = tuple[str, Document, Sequence[Document]]
"""What is said where it was done, what was asked for, and how that ended in each store."""


def report(options: Options, changes: Sequence[Change]) -> int:
    """Tell of each what was done on stdout, and on stderr where it failed; the exit code."""
    rows = [{**asked, "changes": list(outcomes)} for _, asked, outcomes in changes]
    done = [text for text, _, outcomes in changes if any(not o["error"] for o in outcomes)]
    failed = [outcome for _, _, outcomes in changes for outcome in outcomes if outcome["error"]]
    if done or options.for_machines:
        emit(options, {"models": rows}, lambda: "\n".join(done))
    for outcome in failed:
        click.echo(f"fleet: {clean(outcome['error'])} (store {clean(outcome['store'])})", err=True)
    return Exit.FAILED if failed else Exit.OK
