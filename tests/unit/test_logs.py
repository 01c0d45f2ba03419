"""Rotation loses and doubles no byte; what is shown of a log is safe and bounded."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.control.logs import ChildLogs, last_lines
from ollama_fleet.control.logs.rotated import RotatedFile, fitting_bytes

_DEADLINE_S = 30.0
_TEXT = st.text("ab\n", max_size=60).map(str.encode)


def _parts(path):
    """The contents of a log's files, oldest first."""
    older = path.parent.glob(f"{path.name}.*")
    numbered = sorted(((int(p.suffix[1:]), p) for p in older), reverse=True)
    return [p.read_bytes() for _, p in numbered] + ([path.read_bytes()] if path.exists() else [])


@given(_TEXT, st.integers(0, 80), st.booleans())
def test_what_goes_into_a_file_fits_and_ends_a_line_where_it_can(data, room_bytes, may_split):
    count = fitting_bytes(data, room_bytes, may_split=may_split)
    assert 0 <= count <= min(room_bytes, len(data))
    if count == len(data):
        return
    if b"\n" in data[:room_bytes]:
        assert data[:count].endswith(b"\n")
        assert b"\n" not in data[count:room_bytes]
    else:
        assert count == (room_bytes if may_split else 0)


@given(chunks=st.lists(_TEXT), max_bytes=st.integers(1, 40))
def test_the_files_together_are_what_was_written(tmp_path_factory, chunks, max_bytes):
    """In order, each byte once, no file above its limit."""
    path = tmp_path_factory.mktemp("log") / "a.log"
    file = RotatedFile(path, max_bytes=max_bytes, keep=2000)
    for chunk in chunks:
        file.write(chunk)
    file.close()
    parts = _parts(path)
    assert b"".join(parts) == b"".join(chunks)
    assert all(0 < len(part) <= max_bytes for part in parts)


@given(chunks=st.lists(_TEXT), max_bytes=st.integers(1, 40), keep=st.integers(0, 3))
def test_with_few_files_the_newest_bytes_are_kept(tmp_path_factory, chunks, max_bytes, keep):
    path = tmp_path_factory.mktemp("log") / "a.log"
    file = RotatedFile(path, max_bytes=max_bytes, keep=keep)
    for chunk in chunks:
        file.write(chunk)
        file.close()  # as between two lives of a child
    assert len(_parts(path)) <= keep + 1
    assert b"".join(chunks).endswith(b"".join(_parts(path)))
    assert file.dropped_bytes == 0


def test_lines_that_fit_into_a_file_are_not_split(tmp_path):
    path = tmp_path / "a.log"
    file = RotatedFile(path, max_bytes=100, keep=100)
    written = [f"{number:02} {'x' * 30}\n".encode() for number in range(50)]
    for line in written:
        file.write(line)
    file.write(b"".join(written))
    assert [line for part in _parts(path) for line in part.splitlines(keepends=True)] == written * 2


def test_a_file_above_its_limit_is_rotated_first(tmp_path):
    """As after the limit was lowered."""
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 50)
    RotatedFile(path, max_bytes=10, keep=1).write(b"new\n")
    assert _parts(path) == [b"x" * 50, b"new\n"]


def test_a_rotation_that_failed_half_way_loses_nothing_when_it_is_done_again(tmp_path):
    """A hole in the numbers is filled before an older file is given up."""
    path = tmp_path / "a.log"
    for name, text in (("a.log", "d"), ("a.log.2", "b"), ("a.log.3", "a")):
        (tmp_path / name).write_text(text)
    RotatedFile(path, max_bytes=1, keep=3).write(b"e")
    assert _parts(path) == [b"a", b"b", b"d", b"e"]


def test_files_are_their_owners_alone(tmp_path):
    """Also those which were there before with wider permissions."""
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o755)
    (folder / "a.log").touch(mode=0o644)
    for name in ("a.log", "b.log"):
        RotatedFile(folder / name, max_bytes=10, keep=1).write(b"x")
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_bytes_that_cannot_be_written_are_counted_and_reported_once(tmp_path):
    """Here a folder stands where the file should; nothing is raised meanwhile."""
    path = tmp_path / "a.log"
    path.mkdir()
    file = RotatedFile(path, max_bytes=1000, keep=1)
    file.write(b"12345\n")
    file.write(b"678\n")
    assert file.dropped_bytes == 10
    path.rmdir()
    file.write(b"again\n")
    file.write(b"and again\n")
    assert path.read_bytes() == (
        b"[fleet] 10 bytes of this log were lost: Is a directory\nagain\nand again\n"
    )
    assert file.dropped_bytes == 10


def test_the_report_of_a_loss_has_its_own_line(tmp_path):
    """Also where the file, perhaps an earlier program's, ends within a line."""
    path = tmp_path / "a.log"
    path.write_bytes(b"half a li")
    aside = path.rename(tmp_path / "aside")
    path.mkdir()
    file = RotatedFile(path, max_bytes=1000, keep=1)
    file.write(b"lost")
    path.rmdir()
    aside.rename(path)
    file.write(b"found\n")
    report = b"[fleet] 4 bytes of this log were lost: Is a directory"
    assert path.read_bytes().splitlines() == [b"half a li", report, b"found"]


def test_a_link_in_place_of_a_log_is_not_followed(tmp_path):
    target = tmp_path / "elsewhere"
    target.write_text("precious")
    (tmp_path / "a.log").symlink_to(target)
    file = RotatedFile(tmp_path / "a.log", max_bytes=1000, keep=1)
    file.write(b"x")
    assert target.read_text() == "precious"
    assert file.dropped_bytes == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"", ()),
        (b"\n", ("",)),
        (b"a\nb\n", ("a", "b")),
        (b"a\nhalf a li", ("a", "half a li")),
        (b"a\r\nb\r\n", ("a", "b")),
        (b"10%\r20%\r100%\n", ("100%",)),
        (b"\x1b[1;31mred\x1b[0m\ttab\n", ("red tab",)),
        (b"\x1b]0;title\x07text \x1b]8;;http://x\x1b\\link\n", ("text link",)),
        (b"bell\x07 nul\x00 back\x08 csi\xc2\x9b bidi\xe2\x80\xae\n", ("bell nul back csi bidi",)),
        (b"\xff\xc3\xa9\n", ("\N{REPLACEMENT CHARACTER}é",)),
    ],
)
def test_what_a_terminal_would_obey_is_left_out(text, shown):
    assert last_lines(text, 20) == shown


@given(st.binary(max_size=300), st.integers(-1, 5))
def test_shown_lines_are_printable_and_no_more_than_asked_for(text, count):
    lines = last_lines(text, count)
    assert len(lines) <= max(0, count)
    assert all(line.isprintable() for line in lines)


def test_long_lines_are_cut():
    (line,) = last_lines(b"x" * 70_000, 1)
    assert len(line) == 500
    assert line.endswith("…")


def test_a_first_line_without_its_beginning_is_not_shown():
    text = b"lost beginning\n" + b"y\n" * 40_000
    assert set(last_lines(text[-65536:], 40_000)) == {"y"}
    assert len(last_lines(b"z" * 65_000 + b"\n" + b"y" * 600, 5)) == 1


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "/etc/passwd", "a\0b"])
def test_a_name_cannot_lead_out_of_the_directory(tmp_path, name):
    logs = ChildLogs(tmp_path / "logs", max_bytes=1000, keep=1)
    with pytest.raises(ValueError, match="cannot be the name"):
        logs.open(name)
    logs.close()


@pytest.mark.parametrize(("max_bytes", "keep"), [(0, 1), (-1, 1), (10, -1)])
def test_limits_that_keep_nothing_are_refused(tmp_path, max_bytes, keep):
    with pytest.raises(ValueError, match="no log can be kept"):
        ChildLogs(tmp_path, max_bytes=max_bytes, keep=keep)


def test_a_name_never_opened_has_no_lines_and_lost_none(tmp_path):
    logs = ChildLogs(tmp_path, max_bytes=1000, keep=1)
    assert logs.tail("a") == ()
    assert logs.dropped_bytes("a") == 0
    assert logs.flush("a").result(0) is None
    logs.close()


@pytest.fixture
def held_logs(tmp_path):
    """Logs whose thread does nothing until the event beside them is set."""
    logs = ChildLogs(tmp_path, max_bytes=1000, keep=1)
    go_on = threading.Event()
    logs._begin()
    logs._command(go_on.wait)
    yield logs, go_on
    go_on.set()
    logs.close()


def test_a_flush_reads_pipes_that_the_thread_has_not_looked_at_yet(held_logs):
    """A child may be started, print and die between two rounds of the thread."""
    logs, go_on = held_logs
    fd = logs.open("a")
    os.write(fd, b"x" * 60_000 + b"\nlast words\n")
    os.close(fd)
    flushed = logs.flush("a")
    hold_after = threading.Event()
    logs._command(hold_after.wait)
    go_on.set()
    flushed.result(_DEADLINE_S)
    tail = logs.tail("a", 1)
    hold_after.set()
    assert tail == ("last words",)


def test_a_flush_given_up_does_not_stop_the_reading(held_logs):
    logs, go_on = held_logs
    fd = logs.open("a")
    assert logs.flush("a").cancel()
    os.write(fd, b"still read\n")
    os.close(fd)
    go_on.set()
    logs.flush("a").result(_DEADLINE_S)
    assert logs.tail("a") == ("still read",)


def test_closed_logs_refuse_to_open_and_answer_all_else(tmp_path):
    logs = ChildLogs(tmp_path, max_bytes=1000, keep=1)
    logs.close()
    logs.close()
    with pytest.raises(ValueError, match="closed"):
        logs.open("a")
    assert logs.flush("a").result(0) is None
    assert logs.tail("a") == ()
