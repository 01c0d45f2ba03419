"""What systems do in ways of their own, each with the calls of the system alone played."""

import asyncio
import ctypes
import errno
import fcntl
import importlib.util
import os
import resource
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import uvloop

from ollama_fleet.system import door, files, limits, locks, loop, signals
from ollama_fleet.system.apart import apart

pytestmark = pytest.mark.platform

ENDLESS = resource.RLIM_INFINITY


def without(name, missing, monkeypatch):
    """A module of ours, imported anew where a module of the system is missing."""
    monkeypatch.setitem(sys.modules, missing, None)
    spec = importlib.util.find_spec(f"ollama_fleet.system.{name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Kernel32:
    """LockFileEx as Microsoft documents it: byte ranges of a file, by handle."""

    def __init__(self):
        self.held = []  # file, first byte, exclusive?
        self.error = 0
        self.flags = []

    def LockFileEx(self, handle, flags, *rest):  # noqa: N802 - its name
        *counts, overlapped = rest
        assert counts == [0, 1, 0], "reserved, then the length: one byte"
        place = overlapped._obj
        file = os.fstat(handle.value).st_ino
        exclusive = bool(flags & 2)
        self.flags.append(flags)
        for other, begin, alone in self.held:
            if other == file and begin == place.offset and (alone or exclusive):
                self.error = 33
                return 0
        self.held.append((file, place.offset, exclusive))
        return 1


@pytest.fixture(params=["flock", "LockFileEx"])
def lock(request, monkeypatch):
    """The lock of a system that has flock, and of one that has what Windows has."""
    if request.param == "flock":
        from ollama_fleet.system import locks  # noqa: PLC0415 - beside a copy of it

        return locks.lock
    kernel = Kernel32()
    monkeypatch.setattr(ctypes, "WinDLL", lambda *_, **__: kernel, raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: kernel.error, raising=False)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(get_osfhandle=lambda fd: fd))
    return without("locks", "fcntl", monkeypatch).lock


@pytest.fixture
def opened(tmp_path):
    """Descriptors of one file, each opened for itself."""
    path = tmp_path / "lock"
    made = [os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(3)]
    yield made
    for descriptor in made:
        os.close(descriptor)


def test_who_is_alone_keeps_everybody_else_out(lock, opened):
    lock(opened[0])
    for shared in (False, True):
        with pytest.raises(BlockingIOError):
            lock(opened[1], shared=shared)


def test_some_may_share_a_lock_and_then_nobody_is_alone(lock, opened):
    lock(opened[0], shared=True)
    lock(opened[1], shared=True)
    with pytest.raises(BlockingIOError):
        lock(opened[2])


def test_a_lock_on_windows_keeps_nobody_from_reading_the_file(monkeypatch, opened):
    """There what is locked cannot be read: the pid of the holder must not lie in it."""
    kernel = Kernel32()
    monkeypatch.setattr(ctypes, "WinDLL", lambda *_, **__: kernel, raising=False)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(get_osfhandle=lambda fd: fd))
    lock = without("locks", "fcntl", monkeypatch).lock
    lock(opened[0])
    ((_, first_byte, _),) = kernel.held
    assert first_byte > 2**30
    assert kernel.flags == [2 | 1], "exclusive, and without waiting"


def test_a_file_that_windows_cannot_lock_is_told_apart_from_one_that_is_locked(monkeypatch, opened):
    refusing = SimpleNamespace(LockFileEx=lambda *_: 0)
    monkeypatch.setattr(ctypes, "WinDLL", lambda *_, **__: refusing, raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: 1, raising=False)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(get_osfhandle=lambda fd: fd))
    lock = without("locks", "fcntl", monkeypatch).lock
    with pytest.raises(OSError, match="cannot be locked") as refused:
        lock(opened[0])
    assert not isinstance(refused.value, BlockingIOError)


def test_where_files_have_no_limit_there_are_as_many_as_a_loop_of_windows_watches(monkeypatch):
    unlimited = without("limits", "resource", monkeypatch)
    unlimited.raise_open_files()
    assert unlimited.open_files() == (512, 512)


@pytest.mark.parametrize(
    ("soft", "hard", "refused", "then"),
    [
        (256, ENDLESS, ENDLESS, 10240),  # macOS tells of no end, and refuses to give none
        (20000, ENDLESS, ENDLESS, 20000),  # what an operator has raised stays
        (1024, 4096, None, 4096),
        (256, 4096, 4096, 256),  # 10240 is more than the hard limit
    ],
)
def test_as_many_files_are_asked_for_as_the_system_gives(soft, hard, refused, then, monkeypatch):
    has = {"soft": soft}

    def setrlimit(_which, wanted):
        if wanted[0] == refused or (hard != ENDLESS and wanted[0] > hard):
            raise ValueError("current limit exceeds maximum limit")
        has["soft"] = wanted[0]

    monkeypatch.setattr(resource, "getrlimit", lambda _which: (has["soft"], hard))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    limits.raise_open_files()
    assert has["soft"] == then
    assert limits.open_files()[0] == then


def test_the_loop_is_uvloops_where_there_is_one_and_else_asyncios(monkeypatch):
    async def kind():
        return type(asyncio.get_running_loop())

    assert loop.run(kind()) is uvloop.Loop
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert issubclass(loop.run(kind()), asyncio.BaseEventLoop)


@pytest.mark.parametrize("loops_have_signals", [True, False])
def test_a_signal_is_heard_on_loops_that_know_of_them_and_on_those_that_do_not(
    loops_have_signals, monkeypatch
):
    def refused(*_):
        raise NotImplementedError

    async def heard():
        told = asyncio.Event()
        running = asyncio.get_running_loop()
        if not loops_have_signals:
            monkeypatch.setattr(type(running), "add_signal_handler", refused)
        assert signals.hear("SIGUSR1", told.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(told.wait(), 20)
        if loops_have_signals:
            running.remove_signal_handler(signal.SIGUSR1)

    before = signal.getsignal(signal.SIGUSR1)
    try:
        asyncio.run(heard())
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_that_a_system_lacks_is_not_waited_for(monkeypatch):
    monkeypatch.delattr(signal, "SIGHUP")

    async def heard():
        return signals.hear("SIGHUP", lambda: None)

    assert not asyncio.run(heard())


@pytest.mark.parametrize("lacking", [(), ("pread", "pwrite")])
def test_files_are_read_and_written_at_places_whatever_the_system_has(
    lacking, monkeypatch, tmp_path
):
    for name in lacking:
        monkeypatch.delattr(os, name)
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        assert files.write_at(descriptor, b"0123456789", 0) == 10
        assert files.write_at(descriptor, b"ab", 4) == 2
        assert files.read_at(descriptor, 4, 3) == b"3ab6"
        assert files.read_at(descriptor, 4, 8) == b"89"
    finally:
        os.close(descriptor)


def test_a_folder_is_not_opened_where_a_system_cannot(monkeypatch, tmp_path):
    files.sync_folder(tmp_path)
    monkeypatch.delattr(os, "O_DIRECTORY")
    files.sync_folder(tmp_path / "it would not be found")


def test_nobody_owns_files_by_number_on_windows(monkeypatch, tmp_path):
    for name in ("geteuid", "chown", "fchmod", "getuid"):
        monkeypatch.delattr(os, name)
    monkeypatch.setenv("USERNAME", "ann")
    files.give(tmp_path, tmp_path.parent)
    files.set_mode(-1, 0o600)
    assert files.user_name() == "ann"


def test_blocks_are_shared_on_linux_alone(monkeypatch):
    """The number of that call is another call's on another system."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OSError, match="supported") as refused:
        files.clone(-1, -1)
    assert refused.value.errno == errno.ENOTSUP


def test_pipes_stay_as_they_are_where_their_size_is_not_chosen(monkeypatch):
    without("files", "fcntl", monkeypatch).widen_pipe(-1, 2**20)


@pytest.mark.parametrize(("wait", "tries"), [(True, False), (False, True)])
def test_who_says_so_waits_for_a_lock(wait, tries, monkeypatch):
    asked = []
    monkeypatch.setattr(fcntl, "flock", lambda _file, how: asked.append(how))
    locks.lock(0, wait=wait)
    assert bool(asked[0] & fcntl.LOCK_NB) is tries


def test_only_root_makes_files_for_others(monkeypatch, tmp_path):
    """Nobody else may give a file away, and who tries is refused."""
    given = []
    monkeypatch.setattr(os, "chown", lambda *what: given.append(what))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    files.give(tmp_path, tmp_path)
    assert given == []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    files.give(tmp_path, tmp_path)
    assert given == [(tmp_path, tmp_path.stat().st_uid, tmp_path.stat().st_gid)]


def test_a_process_apart_has_a_session_or_a_console_of_its_own(monkeypatch):
    assert apart() == {"start_new_session": True}
    monkeypatch.setattr(subprocess, "CREATE_NO_WINDOW", 0x08000000, raising=False)
    assert apart() == {"creationflags": 0x08000000}


def test_a_door_is_found_where_it_was_put_up_and_replaces_an_earlier_one(tmp_path):
    path = tmp_path / "control.sock"
    for made in (door.Door(11400, "one"), door.Door(11401, "two")):
        door.put_up(path, made)
        assert door.find(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["control.sock"]


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"7", b'{"port": 1}', b'{"port": "x", "secret": ""}', b"\xff"]
)
def test_what_is_no_door_is_as_if_no_fleet_ran(text, tmp_path):
    path = tmp_path / "control.sock"
    path.write_bytes(text)
    with pytest.raises(FileNotFoundError):
        door.find(path)
