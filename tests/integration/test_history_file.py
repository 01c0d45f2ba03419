"""The history on a disk: killed in the middle, full, removed, held up; and asked for."""

import json
import math
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from fleet_process import FleetProcess, call, until
from made_records import Clock, made
from prometheus_client.parser import text_string_to_metric_families

from ollama_fleet.history import Bounds, History, HistoryApart, recent
from ollama_fleet.history.file import HistoryFile, Unusable

TESTS = Path(__file__).parents[1]
WIDE = Bounds(max_requests=10**9, max_bytes=2**40, keep_s=10**9)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.db"


@pytest.fixture(params=[HistoryFile, HistoryApart])
def opened(request):
    """The file in the hands of the same process, and of one of its own."""
    return request.param


@pytest.fixture
def program(path):
    """Start a Python program that is given the path; it is killed at the end."""
    started = []

    def start(text, *arguments):
        head = f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", head + textwrap.dedent(text), str(path), *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def numbers(path):
    return [int(record.id[1:]) for record in recent(path, 10**6)]


WRITES_FOR_EVER = """
    import itertools, time
    from pathlib import Path
    from made_records import Clock, made
    from ollama_fleet.history import Bounds, History, HistoryApart
    from ollama_fleet.history.file import HistoryFile

    wide, opened = Bounds(10**9, 2**40, 1e9), globals()[sys.argv[2]]
    history = History(Path(sys.argv[1]), wide, clock=Clock(), wall=Clock(), opened=opened)
    for n in itertools.count():
        history.add(made(id=f"r{n}"))
        if n % 5 == 0:
            time.sleep(0.001)
"""


def writers(path):
    """The processes that write this file for another."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(path) in (line := process.info["cmdline"] or ())
        and any(HistoryApart.__module__ in part for part in line)
    ]


def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_file(program, path, opened):
    """What it holds is what was added, in order, from the first to some last; and it goes on."""
    kept: list[int] = []
    for _ in range(2):
        process = program(WRITES_FOR_EVER, opened.__name__)
        enough = len(kept) + 1_000
        until(lambda enough=enough: len(numbers(path)) > enough, what="the first records")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        until(lambda: not writers(path), what="the end of its writer")
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.close()
        found = numbers(path)
        new = found[: len(found) - len(kept)]
        assert new == list(range(len(new) - 1, -1, -1))
        assert found[len(new) :] == kept
        kept = found


MEETS_A_FULL_DISK = """
    import json, logging, resource, time
    from pathlib import Path
    from fleet_process import until
    from made_records import Clock, made
    from ollama_fleet.history import Bounds, History

    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    clock = Clock()
    history = History(Path(sys.argv[1]), Bounds(10**9, 2**40, 1e9), clock=clock, wall=clock)

    def fill(count):
        before = history.written + history.dropped
        for n in range(count):
            history.add(made(id=f"r{n}"))
        until(lambda: history.written + history.dropped == before + count)

    fill(10)
    written_first = history.written
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    fill(500)
    clock.now_s += 31
    fill(500)
    dropped = history.dropped
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    fill(5)
    too_soon = history.dropped
    clock.now_s += 31
    fill(7)
    history.close()
    print(json.dumps([written_first, dropped, too_soon, history.written, history.dropped, said]))
"""


def test_a_full_disk_costs_records_and_nothing_else(program, path):
    """They are counted, it is said once, and when there is room again the next are kept."""
    output, errors = program(MEETS_A_FULL_DISK).communicate(timeout=120)
    first, dropped, too_soon, written, lost, said = json.loads(output or errors)
    assert (first, dropped, too_soon) == (10, 1000, 1005)
    assert (written, lost) == (17, 1005)
    assert len(said) == 2
    assert said[0].startswith("request records are dropped: ")
    assert said[1] == "request records are kept again"
    assert len(recent(path, 10**6)) == 17


def test_a_file_that_is_removed_while_it_is_open_is_begun_anew(path, opened):
    history = History(path, WIDE, clock=Clock(), wall=Clock(), opened=opened)
    history.add(made(id="r1"))
    until(lambda: history.written == 1)
    for part in path.parent.iterdir():
        part.unlink()
    history.add(made(id="r2"))
    history.close()
    assert numbers(path) == [2]


def test_nobody_waits_for_a_disk_that_does_not_answer(path, opened):
    """Neither who adds a record, nor, beyond its patience, who ends the fleet.

    The writer itself waits for the lock for two seconds. A busy machine may hold us up for as
    long, but not each time.
    """

    def waited_s():
        history = History(path, WIDE, clock=Clock(), wall=Clock(), opened=opened)
        history.add(made(id="r1"))
        until(lambda: history.written == 1)
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        for n in range(1_000):
            history.add(made(id=f"r{n}"))
        history.close(timeout_s=0.2)
        took_s = time.monotonic() - began
        holder.close()
        return took_s

    assert any(waited_s() < 1.5 for _ in range(5))


# -- a process of its own ------------------------------------------------------------------------


def test_a_writer_of_its_own_keeps_what_one_of_ours_keeps(tmp_path):
    """Also what a client wrote that no encoding has, and more than it is told in a piece."""
    odd = made(id="r1", model="\ud800", request_bytes=2**70, scores=(("gpu0", (math.inf,)),))
    records = [odd, *(made(id=f"r{n}") for n in range(2, 500))]
    found = []
    for opened in (HistoryFile, HistoryApart):
        file = opened(tmp_path / opened.__name__)
        file.write(records)
        assert file.is_in_place
        assert file.prune(Bounds(490, 2**40, 1e9), 0.0, 100) == 9
        file.close()
        found.append(recent(tmp_path / opened.__name__, 1000))
    assert found[0] == found[1]
    assert len(found[0]) == 490


def test_a_writer_of_its_own_says_of_a_file_what_one_of_ours_says(path):
    path.write_bytes(b"no history at all" * 100)
    with pytest.raises(Unusable, match="not a database"):
        HistoryApart(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="unable to open"):
        HistoryApart(path)
    assert not writers(path)


def test_a_writer_that_is_killed_costs_what_comes_before_the_next(path, caplog):
    """It is said once, and counted."""
    clock = Clock()
    history = History(path, WIDE, clock=clock, wall=clock, opened=HistoryApart)
    history.add(made(id="r1"))
    until(lambda: history.written == 1)
    (writer,) = writers(path)
    os.kill(writer, signal.SIGKILL)
    history.add(made(id="r2"))
    until(lambda: history.dropped == 1)
    clock.now_s += 31
    history.add(made(id="r3"))
    until(lambda: history.written == 2)
    history.close()
    assert numbers(path) == [3, 1]
    assert not writers(path)
    said = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert said == ["request records are dropped", "request records are kept again"]


# -- through a whole fleet -----------------------------------------------------------------------

MODEL = "llama3.1:8b"
CANARY = "the-canary-sings-at-midnight"


@pytest.fixture
def fleet(tmp_path):
    one = FleetProcess(tmp_path, OLLAMA_SIM_TIME_SCALE="20")
    one.run("up", "-d", "--wait", "--simulate", "2x24GB")
    yield one
    one.run("down", "--now", check=False)


def control(fleet, path):
    """Ask the control API: the status and the body of its answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(20)
        client.connect(str(fleet.folder / "state" / "control.sock"))
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: fleet\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def generate(fleet, request_id):
    asked = {"model": MODEL, "prompt": CANARY, "options": {"num_predict": 5}}
    url, headers = f"{fleet.base}/api/generate", {"X-Request-Id": request_id, "X-Canary": CANARY}
    request = urllib.request.Request(url, json.dumps(asked).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def test_a_fleet_tells_what_became_of_its_requests_and_never_what_they_said(fleet):
    """While it runs by its control API, and afterwards in the file; prompts are in neither."""
    length = len(generate(fleet, "mine/1"))
    until(lambda: control(fleet, "/v1/requests/mine/1")[0] == 200)
    generate(fleet, "mine/2")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        call(f"{fleet.base}/nowhere?{CANARY}")

    status, body = control(fleet, "/v1/requests/mine%2F1")
    record = json.loads(body)
    assert (status, record["status"], record["ending"]) == (200, 200, "completed")
    assert (record["model"], record["route"], record["id"]) == (MODEL, "/api/generate", "mine/1")
    assert record["output_tokens"] == 5
    assert 0 < record["first_byte_s"] <= record["total_s"]
    assert record["answer_bytes"] >= length
    assert {name for name, *_ in record["scores"]} >= {record["instance"]}

    def both():
        return len(json.loads(control(fleet, "/v1/requests?limit=10")[1])["requests"]) == 2

    until(both)
    newest = json.loads(control(fleet, "/v1/requests?limit=1")[1])["requests"]
    assert [r["id"] for r in newest] == ["mine/2"]
    assert json.loads(control(fleet, "/v1/requests?since=9999999999")[1]) == {"requests": []}
    assert control(fleet, "/v1/requests/nobodys")[0] == 404
    assert control(fleet, "/v1/requests?limit=0")[0] == 400
    assert control(fleet, "/v1/requests?limit=many")[0] == 400
    assert control(fleet, "/v1/requests?since=nan")[0] == 400
    assert control(fleet, "/v1/usage?slow=long")[0] == 400

    page = ""

    def figures():
        nonlocal page
        _, page = control(fleet, "/metrics")
        return {
            (sample.name.removeprefix("ollama_fleet_"), sample.labels.get("route")): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    # They can be read a moment before they are counted.
    found = until(lambda: (now := figures())["history_records_total", None] == 2 and now)
    assert found["requests_total", "/api/generate"] == 2
    assert found["http_responses_total", "/api/generate"] == 2
    assert found["http_responses_total", "other"] == 1
    assert CANARY not in page

    fleet.run("down", "--now")
    state = fleet.folder / "state"
    file = state / "history.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [r.id for r in recent(file, 10)] == ["mine/2", "mine/1"]
    written = b"".join(p.read_bytes() for p in (*state.glob("history*"), *state.glob("logs/*")))
    assert b"mine/1" in written
    assert CANARY.encode() not in written
