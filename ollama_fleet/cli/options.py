"""The options every command takes, before or after its name, and what they were set to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import update_wrapper
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

_META = "ollama_fleet.options"  # of the metadata that all contexts of one command line share
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Output(StrEnum):
    """The form of what goes to stdout."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Options:
    """The global options as given, wherever on the command line they stood."""

    config: Path | None = None
    output: Output = Output.TABLE
    quiet: bool = False
    verbose: bool = False

    @property
    def for_machines(self) -> bool:
        """Whether stdout is to be JSON or YAML."""
        return self.output in {Output.JSON, Output.YAML}


class Command(click.Command):
    """A command that takes the global options too, and lists them apart in its help.

    `examples`: command lines, each with what it does; they are the end of the help. `csv`: it can
    print CSV, too.
    """

    def __init__(
        self,
        name: str | None,
        *,
        params: list[click.Parameter] | None = None,
        examples: Mapping[str, str] = _NONE,
        csv: bool = False,
        **attributes: Any,
    ) -> None:
        forms = [form.value for form in Output if csv or form is not Output.CSV]
        super().__init__(name, params=[*(params or ()), *_global_options(forms)], **attributes)
        self._examples = examples
        self._forms = forms

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, unless a form is asked for that it does not have."""
        output = ctx.meta.get(_META, {}).get("output", Output.TABLE)
        if output not in self._forms:
            raise click.UsageError(f"it prints no {output}; {', '.join(self._forms)}", ctx)
        return super().invoke(ctx)

    @property
    def examples(self) -> Mapping[str, str]:
        """Command lines, each with what it does."""
        return self._examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then the global ones."""
        own = [p for p in self.get_params(ctx) if not isinstance(p, GlobalOption)]
        shared = [p for p in self.get_params(ctx) if isinstance(p, GlobalOption)]
        for title, params in (("Options", own), ("Global options", shared)):
            rows = [row for param in params if (row := param.get_help_record(ctx)) and row[1]]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the examples as they may be pasted into a shell."""
        if not self.examples:
            return
        with formatter.section("Examples"):
            margin = " " * formatter.current_indent
            for line, meaning in self.examples.items():
                formatter.write(f"{margin}# {meaning}\n{margin}{line}\n")


class Group(Command, click.Group):
    """A command with commands below it, which say for themselves whether they print CSV."""

    command_class = Command

    def __init__(self, name: str | None = None, **attributes: Any) -> None:
        super().__init__(name, csv=True, **attributes)

    @property
    def examples(self) -> Mapping[str, str]:
        """Its own, and those of the commands below it."""
        below = (each.examples for each in self.commands.values() if isinstance(each, Command))
        return {**super().examples, **{k: v for each in below for k, v in each.items()}}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


class GlobalOption(click.Option):
    """An option of every command: its value is kept aside, not passed to the function."""


def pass_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pass the Options as the first argument."""

    def call(*args: Any, **kwargs: Any) -> Any:
        meta = click.get_current_context().meta.get(_META, {})
        return function(Options(**meta), *args, **kwargs)

    return update_wrapper(call, function)


def _global_options(forms: list[str]) -> list[click.Parameter]:
    return [
        _option(
            ["-c", "--config"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Read this fleet.yaml instead of looking for one.",
        ),
        _option(
            ["-o", "--output"],
            type=click.Choice(forms),
            help="Form of the output; table if not given.",
        ),
        _option(["-q", "--quiet"], is_flag=True, help="Print errors only."),
        _option(["-v", "--verbose"], is_flag=True, help="Print more."),
        _option(["--no-color", "no_color"], is_flag=True, help="Print without colours."),
    ]


def _option(names: list[str], **attributes: Any) -> GlobalOption:
    return GlobalOption(names, expose_value=False, callback=_keep, **attributes)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if not value:
        return
    if param.name == "no_color":
        ctx.find_root().color = ctx.color = False
        return
    ctx.meta.setdefault(_META, {})[param.name] = Output(value) if param.name == "output" else value
