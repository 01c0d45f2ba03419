"""What a server has answered, for who compares both ends: OLLAMA_SIM_JOURNAL names the file.

A line for each answer whose first byte is sent: {"id": X-Request-Id, "at_s": monotonic clock of the
machine, "pid": the server's}. Several servers may append to one file.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path


class Journal:
    """Appends to the file; where the disk takes no line there is none."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def answered(self, request_id: str) -> None:
        """The first byte of the answer to this request is sent."""
        line = {"id": request_id, "at_s": time.monotonic(), "pid": os.getpid()}
        with suppress(OSError):
            os.write(self._fd, json.dumps(line).encode() + b"\n")
