"""What Python itself would say on stderr: warnings, and the faults that nobody takes.

It would wait for whoever reads stderr, and tell an exception's own words.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def python_logs() -> Iterator[None]:
    """Have it logged for as long as the block runs."""
    before = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = _of_thread, _unraisable
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        threading.excepthook, sys.unraisablehook = before


def _of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread is not None else ""
        log.error("a thread has failed", exc_info=args.exc_value, extra={"of": name})


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    where = {"of": type(args.object).__qualname__}
    log.error("an exception could go nowhere", exc_info=args.exc_value, extra=where)
