"""Processes apart from the terminal: what interrupts or closes it does not reach them."""

import subprocess
from typing import Any


def apart() -> dict[str, Any]:
    """For Popen: a session of its own, or on Windows a console of its own that nobody sees."""
    console = getattr(subprocess, "CREATE_NO_WINDOW", None)
    return {"start_new_session": True} if console is None else {"creationflags": console}
