"""JSON as Go's encoding/json reads and writes it: error texts, duplicate keys, escaping.

`decode` takes the first value of a body and ignores what follows; an object becomes `Pairs`, its
members in order with duplicates, because Go assigns them one after the other.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any

_LITERALS = {"t": "true", "f": "false", "n": "null"}
_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_QUOTE = {"'": "'\\''", '"': "'\"'", "\n": "'\\n'", "\r": "'\\r'", "\t": "'\\t'", "\\": "'\\\\'"}


class SyntaxProblemError(Exception):
    """The body is not JSON; the text is Go's."""


class EmptyBodyError(Exception):
    """The body holds no value at all: io.EOF in Go."""


class Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, in order."""


def encode(value: object) -> bytes:
    """Compact JSON with Go's escapes for HTML."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_HTML).encode(errors="replace")


def quoted(text: str) -> str:
    """A string as Go's %q prints it (for plain text the same as in JSON)."""
    return json.dumps(text, ensure_ascii=False)


def decode(body: bytes) -> Any:
    """The first JSON value of a body. Raises EmptyBodyError, SyntaxProblemError."""
    text = body.decode(errors="replace").lstrip(" \t\r\n")
    if not text:
        raise EmptyBodyError
    try:
        value, _ = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        raise SyntaxProblemError(_explain(text, error)) from None
    except _ConstantError:
        raise SyntaxProblemError(_strange(text, _constant_at(text), _VALUE)) from None
    except RecursionError:
        raise SyntaxProblemError("exceeded max depth") from None
    return value


class _ConstantError(Exception):
    """NaN or Infinity, which only Python reads."""


def _refuse(name: str) -> Any:
    raise _ConstantError(name)


def _integer(digits: str) -> float:
    """Its value; Python reads no more than 4,300 digits of one."""
    return int(digits) if len(digits) < _MANY_DIGITS else math.inf


_MANY_DIGITS = 4000
_DECODER = json.JSONDecoder(object_pairs_hook=Pairs, parse_constant=_refuse, parse_int=_integer)
_VALUE = "looking for beginning of value"
_AFTER = {True: "after object key:value pair", False: "after array element"}


def _constant_at(text: str) -> int:
    return min(at for at in (text.find("NaN"), text.find("Infinity")) if at >= 0)


def _explain(text: str, error: json.JSONDecodeError) -> str:
    at = error.pos
    if at >= len(text):
        return "unexpected EOF"
    for start, explain in _EXPLANATIONS.items():
        if error.msg.startswith(start):
            return explain(text, at)
    # What is left: a property name was expected, at `at` or after the comma there.
    at = _skip_blanks(text, at + (text[at] == ","))
    return _strange(text, at, "looking for beginning of object key string")


def _bad_value(text: str, at: int) -> str:
    char = text[at]
    if char == "-":
        return _strange(text, at + 1, "in numeric literal")
    literal = _LITERALS.get(char)
    if literal is None:
        return _strange(text, at, _VALUE)
    for offset, expected in enumerate(literal):
        if text[at + offset : at + offset + 1] != expected:
            return _strange(text, at + offset, f"in literal {literal} (expecting '{expected}')")
    return "unexpected EOF"


def _strange(text: str, at: int, where: str) -> str:
    if at >= len(text):
        return "unexpected EOF"
    char = chr(text[at].encode()[0])  # Go looks at bytes, and names one as if it were a character
    return f"invalid character {_QUOTE.get(char) or repr(char)} {where}"


# Python points at the backslash or at what follows it, by the kind of escape.
_EXPLANATIONS: dict[str, Callable[[str, int], str]] = {
    "Unterminated string": lambda _text, _at: "unexpected EOF",
    "Expecting value": _bad_value,
    "Invalid control character": lambda text, at: _strange(text, at, "in string literal"),
    "Invalid \\": lambda text, at: _strange(text, at + (text[at] == "\\"), "in string escape code"),
    "Expecting ':'": lambda text, at: _strange(text, at, "after object key"),
    "Expecting ','": lambda text, at: _strange(text, at, _AFTER[_inside_object(text, at)]),
}


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _inside_object(text: str, at: int) -> bool:
    """The innermost bracket open at a position is a brace."""
    open_brackets: list[str] = []
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text[:at]):
        bracket = token.group()
        if bracket in "[{":
            open_brackets.append(bracket)
        elif bracket in "]}" and open_brackets:
            open_brackets.pop()
    return bool(open_brackets) and open_brackets[-1] == "{"
