"""Real children print; their logs are complete, bounded, and never in their way."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ollama_fleet.control.logs import ChildLogs

_DEADLINE_S = 60.0
_MIB = 1024 * 1024

_PRINT_LINES = """
import sys
line = b"%08d " + b"x" * 90 + b"\\n"
for first in range(0, {lines}, 1000):
    sys.stdout.buffer.write(b"".join(line % n for n in range(first, first + 1000)))
"""

_PRINT_WITHOUT_END = """
import sys
for _ in range({mib}):
    sys.stderr.buffer.write(b"y" * 1048576)
"""

# A disk is full for as long as the limit on file sizes stands; the children print into pipes, which
# it does not concern.
_ON_A_FULL_DISK = """
import json, resource, subprocess, sys
from pathlib import Path
from ollama_fleet.control.logs import ChildLogs

def print_bytes(count):
    fd = logs.open("a")
    code = f"import sys; sys.stdout.write('x' * {count - 1} + chr(10))"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=fd)
    import os; os.close(fd)
    status = child.wait(60)
    logs.flush("a").result(60)
    return status

folder = Path(sys.argv[1])
logs = ChildLogs(folder, max_bytes=100_000_000, keep=1)
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
statuses = [print_bytes(3_000_000), print_bytes(500)]
dropped = logs.dropped_bytes("a")
tail = logs.tail("a", 1)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
statuses.append(print_bytes(100))
logs.close()
print(json.dumps([statuses, dropped, len(tail[0])]))
"""


@pytest.fixture
def make_logs(tmp_path):
    made: list[ChildLogs] = []

    def make(max_bytes: int = 8 * _MIB, keep: int = 20) -> ChildLogs:
        made.append(ChildLogs(tmp_path / "logs", max_bytes=max_bytes, keep=keep))
        return made[-1]

    yield make
    for logs in made:
        logs.close()


def _start(logs: ChildLogs, name: str, *command: str) -> subprocess.Popen[bytes]:
    fd = logs.open(name)
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=fd, stderr=fd)
    finally:
        os.close(fd)


def _python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def _finish(logs: ChildLogs, name: str, child: subprocess.Popen[bytes]) -> None:
    assert child.wait(_DEADLINE_S) == 0
    logs.flush(name).result(_DEADLINE_S)


def _open_fds() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _parts(folder: Path, name: str) -> list[bytes]:
    older = sorted(folder.glob(f"{name}.log.*"), key=lambda part: -int(part.suffix[1:]))
    return [part.read_bytes() for part in [*older, folder / f"{name}.log"]]


def test_fifty_megabytes_arrive_byte_for_byte(make_logs, tmp_path):
    """A child in a hurry is read to its end, over rotated files, in order."""
    logs = make_logs()
    _finish(logs, "a", _start(logs, "a", *_python(_PRINT_LINES.format(lines=500_000))))
    parts = _parts(tmp_path / "logs", "a")
    expected = hashlib.sha256()
    for number in range(500_000):
        expected.update(b"%08d " % number + b"x" * 90 + b"\n")
    assert hashlib.sha256(b"".join(parts)).hexdigest() == expected.hexdigest()
    assert len(parts) == 6
    assert all(len(part) <= 8 * _MIB and part.endswith(b"\n") for part in parts)
    assert logs.tail("a", 2)[-1].startswith("00499999 xxx")
    assert logs.dropped_bytes("a") == 0


def test_a_flood_without_a_line_end_is_kept_and_bounded(make_logs, tmp_path):
    """Files have their full size, the tail is one line, cut."""
    logs = make_logs(max_bytes=_MIB, keep=2)
    _finish(logs, "a", _start(logs, "a", *_python(_PRINT_WITHOUT_END.format(mib=20))))
    assert [len(part) for part in _parts(tmp_path / "logs", "a")] == [_MIB] * 3
    (line,) = logs.tail("a")
    assert len(line) == 500


def test_many_children_at_once_do_not_mix(make_logs, tmp_path):
    logs = make_logs(max_bytes=_MIB)
    names = [f"instance-{number}" for number in range(8)]
    code = "for n in range(20000): print({name!r}, n)"
    children = [_start(logs, name, *_python(code.format(name=name))) for name in names]
    for name, child in zip(names, children, strict=True):
        _finish(logs, name, child)
        expected = "".join(f"{name} {n}\n" for n in range(20_000)).encode()
        assert b"".join(_parts(tmp_path / "logs", name)) == expected


def test_the_last_words_of_a_child_are_there_after_a_flush(make_logs, tmp_path):
    """However soon after its death: in the tail and in the file, child after child."""
    logs = make_logs()
    for number in range(50):
        child = _start(logs, "a", "sh", "-c", f"echo starting; echo 'cause {number}' >&2; exit 3")
        assert child.wait(_DEADLINE_S) == 3
        logs.flush("a").result(_DEADLINE_S)
        assert logs.tail("a", 2) == ("starting", f"cause {number}")
        assert (tmp_path / "logs" / "a.log").read_text().endswith(f"cause {number}\n")


def test_a_flush_can_be_awaited(make_logs):
    logs = make_logs()
    child = _start(logs, "a", "echo", "hello")
    assert child.wait(_DEADLINE_S) == 0

    async def flush():
        await asyncio.wait_for(asyncio.wrap_future(logs.flush("a")), _DEADLINE_S)

    asyncio.run(flush())
    assert logs.tail("a") == ("hello",)


def test_a_flush_ends_while_a_child_prints_without_end(make_logs):
    """It captures what is there when it is asked for, and does not chase what comes after."""
    logs = make_logs(max_bytes=_MIB, keep=1)
    child = _start(logs, "a", "sh", "-c", "echo first; exec yes")
    try:
        for _ in range(20):
            logs.flush("a").result(_DEADLINE_S)
        deadline_s = time.monotonic() + _DEADLINE_S
        while logs.tail("a", 1) != ("y",):
            assert time.monotonic() < deadline_s
    finally:
        child.kill()
        child.wait()


def test_a_full_disk_costs_bytes_but_stops_no_child(tmp_path):
    """What was lost is counted and said in the log when it works again; the tail has it all."""
    folder = tmp_path / "logs"
    run = subprocess.run(
        (*_python(_ON_A_FULL_DISK), str(folder)),
        check=True,
        capture_output=True,
        timeout=_DEADLINE_S,
    )
    statuses, dropped, tail_chars = json.loads(run.stdout)
    assert statuses == [0, 0, 0]
    assert dropped == 2_000_500
    assert tail_chars == 499
    log = (folder / "a.log").read_bytes()
    loss = b"\n[fleet] 2000500 bytes of this log were lost: File too large\n"
    assert log == b"x" * 1_000_000 + loss + b"x" * 99 + b"\n"


def test_file_descriptors_return_to_the_baseline(make_logs):
    """After 200 children under 10 names neither pipe nor file of theirs is open."""
    logs = make_logs()
    _finish(logs, "warm", _start(logs, "warm", "echo", "warm"))
    before = _open_fds()
    for number in range(200):
        name = f"a{number % 10}"
        _finish(logs, name, _start(logs, name, "echo", str(number)))
    deadline_s = time.monotonic() + _DEADLINE_S
    while _open_fds() > before:
        assert time.monotonic() < deadline_s, f"{_open_fds()} descriptors are open, {before} before"
    assert [logs.tail(f"a{n}", 1) for n in range(10)] == [(str(190 + n),) for n in range(10)]


def test_closing_captures_what_is_in_the_pipes_and_leaves_no_descriptor(tmp_path):
    before = _open_fds()
    logs = ChildLogs(tmp_path / "logs", max_bytes=_MIB, keep=1)
    fds = [logs.open(name) for name in ("a", "b")]
    for fd in fds:
        os.write(fd, b"last words\n")
    logs.close()
    for fd in fds:
        os.close(fd)
    assert logs.tail("a") == logs.tail("b") == ("last words",)
    assert (tmp_path / "logs" / "b.log").read_text() == "last words\n"
    assert _open_fds() <= before  # what others have left open may be collected meanwhile
