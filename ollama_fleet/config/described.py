"""What the docstrings under the fields of a record say, read from its source where that is wanted.

pydantic would do that for all records whenever they are imported (`use_attribute_docstrings`), for
more than a quarter of what their import takes.
"""

import ast
import inspect
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from textwrap import dedent

from ollama_fleet.config.settings import Record


def descriptions(record: type[Record]) -> dict[str, str]:
    """By the name of the field, those that it inherits too; none where there is no source."""
    records = (each for each in reversed(record.__mro__) if issubclass(each, Record))
    return dict(said for each in records for said in _own(each))


def _own(record: type[Record]) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(_body(record)):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, inspect.cleandoc(text)


def _body(record: type[Record]) -> list[ast.stmt]:
    with suppress(OSError):  # there is no source
        (definition,) = ast.parse(dedent(inspect.getsource(record))).body
        assert isinstance(definition, ast.ClassDef)
        return definition.body
    return []
