"""Where the values of a configuration come from, and who wins."""

from pathlib import Path

import pytest

from ollama_fleet.config import Address, Config, GroupConfig, load, locate
from ollama_fleet.config.locate import candidates
from ollama_fleet.errors import ConfigError


@pytest.fixture
def loads(tmp_path):
    """Load a text as the fleet.yaml of a folder."""

    def loads(text, environ=None, **flags):
        (tmp_path / "fleet.yaml").write_text(text)
        flags = {key.replace("__", "."): value for key, value in flags.items()}
        return load(None, environ=environ or {}, cwd=tmp_path, overrides=flags)

    return loads


def test_no_file_means_the_defaults(tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "SYSTEM_FILE", tmp_path / "none.yaml")
    found = load(None, environ={}, cwd=Path("/no/such/folder"), overrides={})
    assert (found.path, found.config) == (None, Config())
    assert found.config.groups == (GroupConfig(name="gpu", gpus="auto"),)
    assert set(found.origins.values()) == {"default"}


def test_the_systems_file_is_the_last_resort(tmp_path, monkeypatch):
    file = tmp_path / "system.yaml"
    file.write_text("listen: 5")
    monkeypatch.setattr(locate, "SYSTEM_FILE", file)
    found = load(None, environ={}, cwd=Path("/no/such/folder"), overrides={})
    assert (found.path, found.config.listen.port) == (file, 5)
    assert found.origins["listen"] == f"{file}:1:1"


def test_files_are_looked_for_upwards_then_the_users_then_the_systems():
    found = list(candidates({"HOME": "/home/ada"}, Path("/srv/fleet")))
    assert [str(path) for path in found] == [
        "/srv/fleet/fleet.yaml",
        "/srv/fleet.yaml",
        "/fleet.yaml",
        "/home/ada/.config/ollama-fleet/fleet.yaml",
        "/etc/ollama-fleet/fleet.yaml",
    ]


def test_the_users_folder_is_where_xdg_says_if_it_is_absolute():
    def users(environ):
        return [str(p) for p in candidates(environ, Path("/")) if "/etc/" not in str(p)][1:]

    assert users({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == ["/x/ollama-fleet/fleet.yaml"]
    assert users({"XDG_CONFIG_HOME": "x", "HOME": "/h"}) == []
    assert users({}) == []


def test_the_first_file_wins_and_files_are_not_merged(tmp_path):
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "fleet.yaml").write_text("queue: {limit: 1}")
    (tmp_path / "a" / "fleet.yaml").write_text("listen: 1")
    found = load(None, environ={}, cwd=below, overrides={})
    assert found.path == tmp_path / "a" / "fleet.yaml"
    assert (found.config.listen.port, found.config.queue.limit) == (1, 512)


def test_a_file_asked_for_wins_over_the_variable_and_that_over_the_search(tmp_path):
    for port, name in enumerate(("fleet.yaml", "named.yaml", "asked.yaml")):
        (tmp_path / name).write_text(f"listen: {port}")
    environ = {"FLEET_CONFIG": "named.yaml"}
    asked = Path("asked.yaml")
    assert load(asked, environ=environ, cwd=tmp_path, overrides={}).config.listen.port == 2
    assert load(None, environ=environ, cwd=tmp_path, overrides={}).config.listen.port == 1
    assert load(None, environ={}, cwd=tmp_path, overrides={}).config.listen.port == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none.yaml", "No such file or directory"), (".", "Is a directory"), ("a\0", "null byte")],
)
def test_a_file_that_cannot_be_read_is_named_with_the_cause(name, reason, tmp_path):
    with pytest.raises(ConfigError, match=f"cannot be read: .*{reason}"):
        load(Path(name), environ={}, cwd=tmp_path, overrides={})


def test_a_flag_wins_over_a_variable_and_that_over_the_file(loads):
    text = "listen: 1\nqueue:\n  limit: 1\nlogs: {keep: 1}\n"
    environ = {"FLEET_LISTEN": "2", "FLEET_QUEUE__LIMIT": "2", "PATH": "/bin"}
    found = loads(text, environ, listen="3")
    config = found.config
    assert (config.listen.port, config.queue.limit, config.logs.keep) == (3, 2, 1)
    assert found.origins["listen"] == "--listen"
    assert found.origins["queue.limit"] == "FLEET_QUEUE__LIMIT"
    assert found.origins["logs.keep"] == "fleet.yaml:4:8"
    assert found.origins["queue.timeout"] == "default"
    assert found.origins["groups[0].gpus"] == "default"


@pytest.mark.parametrize("name", ["FLEET_STATE_DIR", "OTHER_LISTEN", "fleet_listen"])
def test_variables_that_are_no_keys_are_left_alone(name, loads):
    found = loads("listen: 7", {name: "8"})
    assert found.config.listen.port == 7


def test_variables_reach_lists_sections_and_env(loads):
    """Lists and sections are YAML there; below env the case of a name is kept."""
    environ = {
        "FLEET_GROUPS": "[{name: a, gpus: [0, 1]}, {name: b}]",
        "FLEET_GROUPS__0__COUNT": "3",
        "FLEET_GROUPS__1__GPUS": "[GPU-7]",
        "FLEET_DEFAULTS__ENV__My__Variable": "on",
        "FLEET_LISTEN": "[::1]:80",
        "FLEET_INSTANCE_PORTS": "",
    }
    found = loads("groups: [{name: z}]", environ)
    assert found.config.groups == (
        GroupConfig(name="a", gpus=(0, 1), count=3),
        GroupConfig(name="b", gpus=("GPU-7",)),
    )
    assert found.config.defaults.env == {"My__Variable": "on"}
    assert found.config.listen == Address("::1", 80)
    assert found.config.instance_ports == "auto"
    assert found.origins["groups[0].gpus"] == "FLEET_GROUPS"
    assert found.origins["groups[0].count"] == "FLEET_GROUPS__0__COUNT"


def test_null_leaves_a_default_to_ollama(loads):
    found = loads("defaults: {num_parallel: ~, keep_alive: 1h}")
    assert found.config.defaults.environment() == {
        "OLLAMA_FLASH_ATTENTION": "1",
        "OLLAMA_KEEP_ALIVE": "3600s",
        "OLLAMA_CONTEXT_LENGTH": "8192",
    }


@pytest.mark.parametrize(
    ("text", "environ", "models"),
    [
        ("", {"HOME": "/h"}, "/h/.ollama/models"),
        ("", {"HOME": "/h", "OLLAMA_MODELS": ' "/big" '}, "/big"),
        ("", {"HOME": "/h", "OLLAMA_MODELS": ""}, "/h/.ollama/models"),
        ("ollama: {models: ~/m}", {"HOME": "/h", "OLLAMA_MODELS": "/big"}, "/h/m"),
        ("ollama: {models: /m}", {"OLLAMA_MODELS": "/big", "FLEET_OLLAMA__MODELS": "/f"}, "/f"),
    ],
)
def test_the_store_is_where_the_file_then_ollamas_variable_says(text, environ, models, loads):
    assert loads(text, environ).config.ollama.models == Path(models)


def test_paths_start_at_the_folder_of_the_file_that_says_them(tmp_path):
    """A path in a file starts at the file, any other at the current folder; a name is a name."""
    (tmp_path / "fleet.yaml").write_text("ollama: {binary: ./bin/ollama, models: store}")
    (tmp_path / "below").mkdir()
    environ = {"FLEET_OLLAMA__MODELS": "here"}
    ollama = load(None, environ=environ, cwd=tmp_path / "below", overrides={}).config.ollama
    assert ollama.binary == str(tmp_path / "bin" / "ollama")
    assert ollama.models == tmp_path / "below" / "here"
    assert Config().ollama.binary == "ollama"


def test_a_groups_store_starts_at_the_folder_of_the_file_that_says_it(tmp_path):
    groups = "[{name: a, store: mine}, {name: b, gpus: [], store: ~/s}, {name: c, gpus: []}]"
    (tmp_path / "fleet.yaml").write_text(f"groups: {groups}\nollama: {{models: all}}")
    (tmp_path / "below").mkdir()

    def stores(**environ):
        environ["HOME"] = "/h"
        return load(None, environ=environ, cwd=tmp_path / "below", overrides={}).config.stores

    box, home = tmp_path / "all", Path("/h/s")
    assert stores() == (tmp_path / "mine", home, box)
    assert stores(FLEET_GROUPS__0__STORE="here") == (tmp_path / "below" / "here", home, box)
    assert stores(FLEET_GROUPS__0__STORE="~/t") == (Path("/h/t"), home, box)
    assert stores(FLEET_GROUPS="[{name: x, store: y}]") == (tmp_path / "below" / "y",)
    assert stores(FLEET_GROUPS__0__STORE="/h/s", FLEET_GROUPS__2__STORE="/h/s") == (home,)


@pytest.mark.parametrize(
    ("store", "reason"), [("''", "'' is empty"), ("[x]", "a list is not a path"), ("{}", "a")]
)
def test_a_groups_store_that_is_no_path_is_refused(store, reason, loads):
    with pytest.raises(ConfigError, match=r"groups\[0\].store: ") as refused:
        loads(f"groups: [{{name: a, store: {store}}}]")
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("text", "environ", "origins", "said"),
    [
        ("", {}, (), "default"),
        ("", {"OLLAMA_ORIGINS": '"http://a, *.lan"'}, ("http://a", "*.lan"), "OLLAMA_ORIGINS"),
        ("", {"OLLAMA_ORIGINS": " "}, (), "default"),
        ('origins: ["*"]', {"OLLAMA_ORIGINS": "http://a"}, ("*",), "fleet.yaml:1:1"),
        (
            "",
            {"OLLAMA_ORIGINS": "*", "FLEET_ORIGINS": "[http://b]"},
            ("http://b",),
            "FLEET_ORIGINS",
        ),
    ],
)
def test_origins_are_what_the_file_then_ollamas_variable_says(text, environ, origins, said, loads):
    found = loads(text, environ)
    assert found.config.origins == origins
    assert found.origins["origins"] == said


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        ("localhost", "has no * and begins with none of http://"),
        ("http://*.a.*", "has more than one *"),
        ("http://ä", "is not an origin"),
        ("", "is empty"),
    ],
)
def test_an_origin_that_ollama_would_not_start_with_is_a_mistake(origin, reason, loads):
    with pytest.raises(ConfigError) as wrong:
        loads("", {"OLLAMA_ORIGINS": f"http://fine,{origin}"})
    (line,) = wrong.value.problems
    assert line.startswith("OLLAMA_ORIGINS: origins[1]: ")
    assert reason in line
