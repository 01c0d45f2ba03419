"""What a server has answered, for who compares both ends: OLLAMA_SIM_JOURNAL names the file.

A line for each answer whose first byte is sent: {"id": X-Request-Id, "came_s": when the request had
come, by the machine's monotonic clock, "pid": the server's}. Servers may share the file.
"""

import json
import os
from contextlib import suppress
from pathlib import Path


class Journal:
    """Appends to the file; where the disk takes no line there is none."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def answered(self, request_id: str, came_s: float) -> None:
        """The first byte of the answer to this request is sent."""
        line = {"id": request_id, "came_s": came_s, "pid": os.getpid()}
        with suppress(OSError):
            os.write(self._fd, json.dumps(line).encode() + b"\n")
