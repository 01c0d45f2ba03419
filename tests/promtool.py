"""Prometheus's own checker, where there is one: PROMTOOL names it, or it is on the PATH."""

import os
import shutil
import subprocess

import pytest

PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is neither on the PATH nor named by PROMTOOL"
)


def promtool(*arguments, text=None, cwd=None):
    """Run it; what it has printed, with its exit status."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *map(str, arguments)],
        input=text,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
