"""Which processes are Ollama servers, and what can be told of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.control import service as services
from ollama_fleet.control.service import Service, describe, find_services
from ollama_fleet.control.service.address import listen_address
from ollama_fleet.control.service.processes import ServerProcess, cgroup_of, is_fleet, is_server
from ollama_fleet.control.service.units import Unit, unit_in

HEX = "0123456789abcdef" * 4
SEEN = ServerProcess(
    pid=812,
    user="ollama",
    home="/usr/share/ollama",
    environment={"OLLAMA_HOST": "0.0.0.0:8080", "OLLAMA_MODELS": "/srv/models", "HOME": "/h"},
    listening=(("127.0.0.1", 11500),),
    cgroup="/system.slice/ollama.service",
)
ME = 1000
MINE = "/user.slice/user-1000.slice/user@1000.service/app.slice"


@pytest.mark.parametrize(
    ("argv", "yes"),
    [
        (["/usr/local/bin/ollama", "serve"], True),
        (["ollama", "start"], True),
        (["/usr/bin/python3", "/opt/bin/ollama", "serve"], True),
        (["/bin/sh", "/usr/bin/ollama", "serve"], True),
        (["sudo", "ollama", "serve"], False),  # its child is one
        (["grep", "ollama", "serve"], False),
        (["ollama", "run", "llama3.2"], False),
        (["ollama"], False),
        (["grep", "ollama", "-r"], False),
        (["/usr/local/lib/ollama/llama-server", "serve"], False),
        (["python3"], False),
        ([], False),
    ],
)
def test_a_server_is_known_by_its_command_line(argv, yes):
    assert is_server(argv) is yes


@pytest.mark.parametrize(
    ("argv", "yes"),
    [
        (["/opt/venv/bin/python", "/opt/venv/bin/fleet", "up", "--no-tui"], True),
        (["python3", "-m", "ollama_fleet", "up", "-d"], True),
        (["fleet", "up"], True),
        (["fleet", "top"], False),
        (["systemd", "--user"], False),
        (["bash", "-c", "sleep 5; echo up"], False),
        ([], False),
    ],
)
def test_a_fleet_is_known_by_its_command_line(argv, yes):
    assert is_fleet(argv) is yes


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ("127.0.0.1", 11434)),
        ("1.2.3.4", ("1.2.3.4", 11434)),
        (' "10.0.0.1:99" ', ("10.0.0.1", 99)),
        (" ' 10.0.0.1 ' ", ("10.0.0.1", 11434)),
        ("[::]:99", ("::", 99)),
        ("[::1]", ("::1", 11434)),
        ("::1", ("::1", 11434)),
        (":8080", ("", 8080)),
        (":0", ("", 0)),
        (":66000", ("", 11434)),
        (":-1", ("", 11434)),
        ("http://box", ("box", 80)),
        ("http://box:4321", ("box", 4321)),
        ("https://box/path", ("box", 443)),
        ("box:notaport", ("box", 11434)),
        ("1.2.3.4:70000", ("1.2.3.4", 11434)),
        ("1.2.3.4:11434/", ("1.2.3.4", 11434)),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(text, address):
    """The values are those of its own test (envconfig/config_test.go), and some beside them."""
    assert listen_address(text) == address


@given(st.text())
def test_whatever_ollama_host_says_there_is_an_address(text):
    host, port = listen_address(text)
    assert isinstance(host, str)
    assert 0 <= port <= 65535


@pytest.mark.parametrize(
    ("seen", "known"),
    [
        ({}, {"host": "127.0.0.1", "port": 11500, "store": "/srv/models"}),
        ({"listening": ()}, {"host": "0.0.0.0", "port": 8080}),
        ({"environment": {"HOME": "/h"}}, {"store": "/h/.ollama/models"}),
        ({"environment": {"OLLAMA_MODELS": " '/m' "}}, {"store": "/m"}),
        ({"environment": None}, {"port": 11500, "store": "/usr/share/ollama/.ollama/models"}),
        (
            {"environment": None, "home": "", "listening": ()},
            {"port": 11434, "store": "/usr/share/ollama/.ollama/models", "seen": False},
        ),
        ({"environment": None, "user": "eve", "home": "/e"}, {"store": "/e/.ollama/models"}),
        ({"environment": None, "user": "eve", "home": ""}, {"store": ""}),
        ({"cgroup": "/"}, {"managed_by": "", "stop": "kill 812"}),
        ({"cgroup": "/", "environment": None}, {"stop": "sudo kill 812", "seen": True}),
    ],
)
def test_what_may_not_be_seen_is_taken_from_how_ollama_is_installed(seen, known):
    """Sockets tell more than OLLAMA_HOST, that more than defaults."""
    service = describe(replace(SEEN, **seen))
    assert {name: getattr(service, name) for name in known} == known


INSTALLED = Unit("ollama.service", ("systemctl",), main_pid=812, file_state="enabled")
LOGIN = Unit("ssh.service", ("systemctl",), main_pid=7, file_state="enabled")


@pytest.mark.parametrize(
    ("unit", "stop", "begin"),
    [
        (INSTALLED, "sudo systemctl disable --now ollama", "sudo systemctl enable --now ollama"),
        (replace(INSTALLED, main_pid=0, file_state=""), "sudo systemctl disable --now ollama", ""),
        (replace(INSTALLED, main_pid=7), "sudo systemctl disable --now ollama", ""),
        (replace(INSTALLED, name="llm.service"), "sudo systemctl disable --now llm", ""),
        (
            replace(INSTALLED, file_state="disabled"),
            "sudo systemctl stop ollama",
            "sudo systemctl start ollama",
        ),
        (replace(INSTALLED, file_state="static"), "sudo systemctl stop ollama", ""),
        (replace(INSTALLED, file_state="transient"), "sudo systemctl stop ollama", ""),
        (
            replace(INSTALLED, file_state="enabled-runtime"),
            "sudo systemctl disable --now ollama",
            "",
        ),
    ],
)
def test_a_unit_of_ollamas_own_is_ended_so_that_it_stays_ended(unit, stop, begin):
    """Disabled if it starts with the machine; what was not enabled is not enabled to undo that."""
    service = describe(SEEN, unit, uid=ME)
    assert service.stop == stop
    assert service.managed_by == unit.name
    assert service.begin == begin or not begin


@pytest.mark.parametrize("unit", [LOGIN, replace(LOGIN, name="supervisor.service", main_pid=0)])
def test_a_server_in_somebody_elses_unit_does_not_end_that_unit(unit):
    """An SSH server without logind keeps what was started in its sessions: to stop it is to go."""
    service = describe(SEEN, unit, uid=ME)
    assert (service.managed_by, service.stop) == ("", "kill 812")


def test_root_needs_no_sudo_which_it_may_not_have():
    assert describe(SEEN, INSTALLED, uid=0).stop == "systemctl disable --now ollama"


@pytest.mark.parametrize(
    ("cgroup", "stop"),
    [
        ("/system.slice/ollama.service", "sudo systemctl stop ollama"),
        ("/ollama.slice/ollama-2.service", "sudo systemctl stop ollama-2"),
        ("/system.slice/ollama.service/runners", "sudo systemctl stop ollama"),
        (
            "/system.slice/system-ollama.slice/ollama@gpu0.service",
            "sudo systemctl stop ollama@gpu0",
        ),
        (f"{MINE}/ollama.service", "systemctl --user stop ollama"),
        (
            "/user.slice/user-1001.slice/user@1001.service/app.slice/ollama.service",
            "sudo systemctl --machine=ollama@.host --user stop ollama",
        ),
        ("/user.slice/user-1000.slice/session-2.scope", ""),
        (f"{MINE}/vte-spawn-1.scope", ""),
        (f"{MINE}/--host=ollama.service", ""),
        ("/init.scope", ""),
        ("/lxc.payload.box/system.slice/ollama.service", ""),
        (f"/docker/{HEX}/system.slice/ollama.service", ""),
        ("/machine.slice/machine-box.scope/payload/system.slice/ollama.service", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_the_unit_is_the_first_behind_the_slices_and_of_this_system(cgroup, stop):
    """What runs in a container has units of its own: those of this machine are none of its."""
    unit = unit_in(cgroup, "ollama", ME)
    known = describe(SEEN, replace(unit, file_state="static"), uid=ME).stop if unit else ""
    assert known == stop


@pytest.mark.parametrize(
    ("cgroup", "managed_by", "stop", "begin"),
    [
        (f"/docker/{HEX}", "container 0123456789ab", "docker stop 0123456789ab", "docker start"),
        (f"/system.slice/docker-{HEX}.scope", "container 0123456789ab", "docker stop", ""),
        (f"/docker/{HEX}/system.slice/ollama.service", "container", "docker stop", ""),
        (f"/machine.slice/libpod-{HEX}.scope/container", "container", "podman stop", ""),
        (f"{MINE}/llm.service/libpod-payload-{HEX}", "container", "podman stop", ""),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{HEX}.scope", "container", "", ""),
        (f"/kubepods/besteffort/pod1/{HEX}", "container", "", ""),
        ("/lxc.payload.box/system.slice/ollama.service", "container", "", ""),
        ("/lxc/box/init.scope", "container", "", ""),
        ("/machine.slice/machine-box.scope/payload/ollama.service", "container", "", ""),
        ("/machine.slice/systemd-nspawn@box.service/payload/x.service", "container", "", ""),
        (f"/kubepods.slice/kubepods-pod1.slice/docker-{HEX}.scope", "container", "", ""),
    ],
)
def test_a_container_is_stopped_by_its_engine_and_never_behind_the_back_of_kubernetes(
    cgroup, managed_by, stop, begin
):
    service = describe(replace(SEEN, cgroup=cgroup), unit_in(cgroup, "ollama", ME), uid=ME)
    assert service.managed_by.startswith(managed_by)
    assert service.stop.startswith(stop)
    assert bool(service.stop) is bool(stop)
    assert service.begin.startswith(begin)


@pytest.mark.parametrize(
    ("cgroup", "stop"),
    [
        (f"/docker/{HEX}", "kill 812"),
        (f"/system.slice/docker-{HEX}.scope", "kill 812"),
        (f"/docker/{HEX}/system.slice/ollama.service", "sudo systemctl disable --now ollama"),
        (f"/docker/{HEX[::-1]}", "docker stop fedcba987654"),
    ],
)
def test_who_is_in_the_same_container_has_its_files_and_its_manager(cgroup, stop, monkeypatch):
    """There its engine is not; an older Docker shows it the whole path of the group."""
    found = service_in(f"/docker/{HEX}/user.slice/session-1.scope", cgroup, monkeypatch)
    assert found.stop == stop
    assert bool(found.store) is not stop.startswith("docker")


def service_in(own, cgroup, monkeypatch):
    monkeypatch.setattr(services, "own_cgroup", lambda: own)
    monkeypatch.setattr(services, "servers", lambda _ours: [replace(SEEN, cgroup=cgroup)])
    monkeypatch.setattr(services, "ask_version", lambda _url, _timeout_s: "")
    monkeypatch.setattr(services, "ask", lambda unit, _timeout_s: unit)
    monkeypatch.setattr(services.os, "getuid", lambda: ME)
    (found,) = find_services()
    return found


def test_the_one_at_ollamas_own_port_comes_first_then_the_lowest(monkeypatch):
    there = [replace(SEEN, listening=(("127.0.0.1", port),)) for port in (11435, 80, 11434)]
    monkeypatch.setattr(services, "servers", lambda _ours: there)
    monkeypatch.setattr(services, "ask_version", lambda _url, _timeout_s: "")
    monkeypatch.setattr(services, "ask", lambda unit, _timeout_s: unit)
    assert [found.port for found in find_services()] == [11434, 80, 11435]


def test_paths_and_ports_in_a_container_are_not_those_of_this_machine():
    service = describe(replace(SEEN, cgroup=f"/docker/{HEX}"))
    assert (service.store, service.seen) == ("", False)
    assert service.mounts == "docker inspect --format '{{.Mounts}}' 0123456789ab"


def test_who_may_not_look_into_the_service_is_told_by_its_unit_what_it_was_given():
    """As in the commonest case: the service of the installer, asked after by somebody else."""
    hidden = replace(SEEN, environment=None, listening=())
    given_ = {"OLLAMA_HOST": "0.0.0.0", "OLLAMA_MODELS": "/data/m", "OLLAMA_KEEP_ALIVE": "1h"}
    service = describe(hidden, replace(INSTALLED, environment=given_), uid=ME)
    assert (service.host, service.port, service.store) == ("0.0.0.0", 11434, "/data/m")
    assert service.seen
    assert service.settings == ("OLLAMA_KEEP_ALIVE=1h",)
    other = describe(hidden, replace(LOGIN, environment=given_), uid=ME)
    assert (other.host, other.seen) == ("127.0.0.1", False)


def test_how_a_server_is_started_again_names_the_settings_that_it_had_and_no_secret():
    environment = {"OLLAMA_HOST": ":80", "OLLAMA_X": "a b", "OLLAMA_API_KEY": "s", "PATH": "/bin"}
    service = describe(replace(SEEN, cgroup="/", environment=environment))
    assert service.begin.endswith("OLLAMA_HOST=:80 OLLAMA_X='a b' ollama serve")
    assert service.settings == ("OLLAMA_X=a b",)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/system.slice/ollama.service\n", "/system.slice/ollama.service"),
        ("9:name=systemd:/a.service\n8:pids:/b\n0::/\n", "/a.service"),
        ("8:pids:/b\n", ""),
        ("0::/a:b.service\n", "/a:b.service"),
    ],
)
def test_the_control_group_is_that_of_systemd(text, path):
    assert cgroup_of(text) == path


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("", "http://127.0.0.1:1"),
        ("::", "http://127.0.0.1:1"),
        ("::1", "http://[::1]:1"),
        ("10.0.0.1", "http://10.0.0.1:1"),
    ],
)
def test_a_server_on_all_addresses_is_reached_on_loopback(host, url):
    assert Service(2, "me", host, 1, "").base_url == url
