"""What the log tells of an exception: its kind and where it came from, seldom its own words.

An exception's words may quote what was being read: a key, a line of a prompt. Only those kinds keep
them whose words are ours, the system's, or names in the program.
"""

import logging
import traceback
from copy import copy
from typing import Final

from ollama_fleet.errors import Failure, FleetError

EXCEPTION: Final = "exception"  # the field of a record that tells of one

_WORDS_ARE_SAFE: Final = (
    FleetError,
    Failure,
    OSError,
    AttributeError,
    ImportError,
    NameError,
    RuntimeError,
    TypeError,
)
_MOST: Final = 8  # of a chain


def in_words(record: logging.LogRecord) -> logging.LogRecord:
    """The record with its exception as text: its frames would keep a request while it waits."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return record
    record = copy(record)
    record.exc_info = record.exc_text = None
    setattr(record, EXCEPTION, told(error))
    return record


def told(error: BaseException) -> str:
    """An exception with its trace, below those that led to it."""
    chain: list[BaseException] = []
    here: BaseException | None = error
    while here is not None and here not in chain and len(chain) < _MOST:
        chain.append(here)
        here = here.__cause__ or (None if here.__suppress_context__ else here.__context__)
    return "\n".join(map(_one, reversed(chain)))


def _one(error: BaseException) -> str:
    words = str(error) if isinstance(error, _WORDS_ARE_SAFE) else ""
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    last = f"{kind}: {words}" if words else kind
    within = [told(each) for each in getattr(error, "exceptions", ())]
    return "\n".join(("".join(traceback.format_tb(error.__traceback__)) + last, *within))
