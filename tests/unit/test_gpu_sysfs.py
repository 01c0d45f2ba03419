"""What is made of the kernel's files, whole and damaged."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.gpu import sysfs

LARGEST = 2**64 - 1


@given(st.integers(-LARGEST, LARGEST))
def test_numbers_of_64_bits_are_read_as_the_kernel_writes_them(value):
    assert sysfs.parse_number(str(value)) == value
    assert sysfs.parse_number(f"0x{abs(value):x}") == sysfs.parse_number(f"0X{abs(value):X}")
    assert sysfs.parse_number(f"0x{abs(value):x}") == abs(value)


@pytest.mark.parametrize(
    "word",
    ["", "0x", "nan", "1.5", "7 W", str(2**64), "-" + str(2**64), "9" * 5000, "0x" + "f" * 5000],
)
def test_what_the_kernel_would_not_write_is_no_number(word):
    assert sysfs.parse_number(word) is None


@given(st.text())
def test_no_word_raises(word):
    sysfs.parse_number(word)


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    told: list[str | None] = []
    reader = threading.Thread(
        target=lambda: told.append(sysfs.text(tmp_path / "pipe")), daemon=True
    )
    reader.start()
    reader.join(20)
    assert told in ([""], [None])


def test_what_is_no_file_has_no_content(tmp_path):
    loop, long = tmp_path / "loop", tmp_path / ("x" * 300)
    loop.symlink_to(loop)
    for path in (loop, long, tmp_path, tmp_path / "none", tmp_path / "a\0b", loop / "below"):
        assert sysfs.raw(path) is None
        assert sysfs.text(path) is None
        assert sysfs.number(path) is None
        assert sysfs.properties(path) == {}
        assert sysfs.numa_node(path) is None
        assert sysfs.nearest_cpus(path) == ()
        assert sysfs.names(path / "below") == []
        assert sysfs.nearness(path, path) == ""
    for path in (loop, long, tmp_path / "none", tmp_path / "a\0b"):
        assert not sysfs.exists(path)
    assert sysfs.target(tmp_path) == sysfs.target(long) == ""


def test_of_a_file_no_more_is_read_than_was_asked_for(tmp_path):
    (tmp_path / "file").write_bytes(b" ab\xff\n" + b"c" * 9000)
    assert sysfs.raw(tmp_path / "file", 3) == b" ab"
    assert sysfs.text(tmp_path / "file", 5) == "ab\ufffd"
    assert len(sysfs.raw(tmp_path / "file") or b"") == 8192


def test_of_a_file_for_people_one_line_is_left_that_can_be_printed(tmp_path):
    (tmp_path / "file").write_bytes(b"\x00 AMD\x1b[2J \xff\n\tPRO  W9\x00\xc2\x85")
    assert sysfs.line(tmp_path / "file") == "AMD [2J PRO W9"
    assert sysfs.line(tmp_path / "none") == ""


@given(st.text())
def test_what_is_legible_stays_as_it_is(word):
    shown = sysfs.legible(word)
    assert shown.isprintable()
    assert sysfs.legible(shown) == shown


def test_properties_are_the_lines_that_have_a_number(tmp_path):
    (tmp_path / "file").write_text("  a 1\nb: 0x10\nc\nd two\n\ne  -3 \nf 1 2\n")
    assert sysfs.properties(tmp_path / "file") == {"a": 1, "b": 16, "e": -3}


def test_names_that_are_numbers_come_first_by_their_value(tmp_path):
    for name in ("10", "9", "card1", "0", "b"):
        (tmp_path / name).mkdir()
    assert sysfs.names(tmp_path) == ["0", "9", "10", "b", "card1"]


@pytest.mark.parametrize(
    ("one", "other", "nodes", "kind"),
    [
        ("a:00.0/b", "a:00.0/c", ("0", "0"), "switch"),
        ("b", "c", ("0", "1"), "bridge"),
        ("../pci0000:20/b", "c", ("0", "0"), "node"),
        ("../pci0000:20/b", "c", ("1", "0"), "socket"),
        ("../pci0000:20/b", "c", ("-1", "0"), ""),
        ("../platform/b", "../platform/c", ("2", "2"), "node"),
    ],
)
def test_two_devices_are_as_near_as_the_kernel_has_them_whichever_is_asked(
    tmp_path, one, other, nodes, kind
):
    here, there = (tmp_path / "sys/devices/pci0000:00" / way for way in (one, other))
    for device, node in zip((here, there), nodes, strict=True):
        (tmp_path / "sys/devices/pci0000:00").mkdir(parents=True, exist_ok=True)
        device.mkdir(parents=True)
        (device / "numa_node").write_text(node + "\n")
    assert sysfs.nearness(here, there) == sysfs.nearness(there, here) == kind
