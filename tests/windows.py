"""What makes a process of this system lack what Windows lacks, as Python's documentation tells it.

The start of a program for `python -c`, to run before anything of ours is imported. The libraries of
others are imported first: they know Windows, and would look for what is not here. `locked` is told
of each lock.
"""

TAKEN_AWAY = """
import functools, io, json, os, platform, select, shutil, signal, socket, sys, types
import asyncio, ctypes, psutil, sysconfig, zoneinfo, subprocess, tempfile, multiprocessing
import click.testing, pydantic.fields, pynvml, rich.console, yaml, aiohttp.web, textual.app

sysconfig.get_config_vars()
shutil.disk_usage = lambda path: shutil._ntuple_diskusage(2**40, 0, 2**40)  # asks statvfs here
# The loop of this system is what there is; it wants a pair of sockets of its own kind.
socket.socketpair = functools.partial(socket.socketpair, socket.AF_UNIX)
for name in ("uvloop", "fcntl", "pwd", "grp", "resource", "termios", "tty", "pty"):
    sys.modules[name] = None
for module, names in (
    (os, "O_CLOEXEC O_NOFOLLOW O_DIRECTORY O_NONBLOCK pread pwrite getuid geteuid getgid chown"
         " fchown fchmod killpg getpgid getsid setsid statvfs fstatvfs setpriority sendfile"
         " set_blocking fork uname sched_getaffinity sched_setaffinity waitid pipe2 pidfd_open"),
    (signal, "SIGKILL SIGHUP SIGCONT SIGUSR1 pidfd_send_signal"),
    (select, "poll PIPE_BUF"),
    (socket, "AF_UNIX TCP_USER_TIMEOUT TCP_INFO MSG_DONTWAIT"),
):
    for name in names.split():
        vars(module).pop(name, None)

def lacking(*_, **__):
    raise NotImplementedError

for name in ("add_signal_handler", "remove_signal_handler", "subprocess_exec", "subprocess_shell",
             "connect_read_pipe", "connect_write_pipe", "create_unix_server"):
    setattr(asyncio.SelectorEventLoop, name, lacking)
locked = []
kernel = types.SimpleNamespace(LockFileEx=lambda *how: locked.append(how) or 1)
ctypes.WinDLL = lambda *_, **__: kernel
ctypes.get_last_error = lambda: 0
sys.modules["msvcrt"] = types.SimpleNamespace(get_osfhandle=lambda descriptor: descriptor)
sys.platform = "win32"
"""
