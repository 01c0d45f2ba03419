"""Which processes are Ollama servers, and what can be told of them."""

from dataclasses import replace

import pytest

from ollama_fleet.control.service import (
    ServerProcess,
    Service,
    describe,
    is_fleet,
    is_server,
    listen_address,
)

HEX = "0123456789abcdef" * 4
SEEN = ServerProcess(
    pid=812,
    user="ollama",
    home="/usr/share/ollama",
    environment={"OLLAMA_HOST": "0.0.0.0:8080", "OLLAMA_MODELS": "/srv/models", "HOME": "/h"},
    listening=(("127.0.0.1", 11500),),
    cgroup="/system.slice/ollama.service",
)


@pytest.mark.parametrize(
    ("argv", "yes"),
    [
        (["/usr/local/bin/ollama", "serve"], True),
        (["ollama", "start"], True),
        (["/usr/bin/python3", "/opt/bin/ollama", "serve"], True),
        (["ollama", "run", "llama3.2"], False),
        (["ollama"], False),
        (["grep", "ollama", "-r"], False),
        (["/usr/local/lib/ollama/llama-server", "serve"], False),
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
        ("0.0.0.0", ("0.0.0.0", 11434)),
        (' "10.0.0.1:99" ', ("10.0.0.1", 99)),
        ("[::]:99", ("::", 99)),
        ("::1", ("::1", 11434)),
        (":8080", ("", 8080)),
        ("http://box", ("box", 80)),
        ("https://box/path", ("box", 443)),
        ("box:notaport", ("127.0.0.1", 11434)),
        ("1.2.3.4:70000", ("127.0.0.1", 11434)),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(text, address):
    assert listen_address(text) == address


@pytest.mark.parametrize(
    ("seen", "known"),
    [
        ({}, {"host": "127.0.0.1", "port": 11500, "store": "/srv/models"}),
        ({"listening": ()}, {"host": "0.0.0.0", "port": 8080}),
        ({"environment": {"HOME": "/h"}}, {"store": "/h/.ollama/models"}),
        ({"environment": None}, {"port": 11500, "store": "/usr/share/ollama/.ollama/models"}),
        (
            {"environment": None, "home": "", "listening": ()},
            {"port": 11434, "store": "/usr/share/ollama/.ollama/models", "seen": False},
        ),
        ({"environment": None, "user": "eve", "home": "/e"}, {"store": "/e/.ollama/models"}),
        ({"environment": None, "user": "eve", "home": ""}, {"store": ""}),
        ({}, {"managed_by": "ollama.service", "stop": "sudo systemctl disable --now ollama"}),
        ({}, {"begin": "sudo systemctl enable --now ollama"}),
        ({"cgroup": f"/docker/{HEX}"}, {"begin": "docker start 0123456789ab"}),
        ({"cgroup": "/"}, {"begin": "start it again as it was started: ollama serve"}),
        (
            {"cgroup": "/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service"},
            {"managed_by": "ollama.service", "stop": "systemctl --user disable --now ollama"},
        ),
        (
            {"cgroup": f"/system.slice/docker-{HEX}.scope"},
            {"managed_by": "container 0123456789ab", "stop": "docker stop 0123456789ab"},
        ),
        ({"cgroup": f"/docker/{HEX}"}, {"managed_by": "container 0123456789ab"}),
        ({"cgroup": "/user.slice/session-2.scope"}, {"managed_by": "", "stop": "kill 812"}),
        ({"cgroup": "/", "environment": None}, {"stop": "sudo kill 812", "seen": True}),
    ],
)
def test_what_may_not_be_seen_is_taken_from_how_ollama_is_installed(seen, known):
    """Sockets tell more than OLLAMA_HOST, that more than defaults; the cgroup tells the manager."""
    service = describe(replace(SEEN, **seen))
    assert {name: getattr(service, name) for name in known} == known


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("10.0.0.1", "http://10.0.0.1:1"),
    ],
)
def test_a_server_on_all_addresses_is_reached_on_loopback(host, url):
    assert Service(2, "me", host, 1, "").base_url == url
