"""What an operator reads when a configuration is wrong."""

import pytest

from ollama_fleet.config import Address, Config, GroupConfig, load
from ollama_fleet.config.problems import MAX_PROBLEMS
from ollama_fleet.errors import ConfigError, Exit


@pytest.fixture
def loads(tmp_path):
    """Load a text as the fleet.yaml of a folder."""

    def loads(text, environ=None, **flags):
        (tmp_path / "fleet.yaml").write_text(text)
        flags = {key.replace("__", "."): value for key, value in flags.items()}
        return load(None, environ=environ or {}, cwd=tmp_path, overrides=flags)

    return loads


@pytest.fixture
def problems(loads):
    """The problems of a text, one per line."""

    def problems(text, environ=None, **flags):
        with pytest.raises(ConfigError) as caught:
            loads(text, environ, **flags)
        assert caught.value.exit_code is Exit.CONFIG
        return list(caught.value.problems)

    return problems


def test_a_store_variable_does_not_hide_a_mistake_in_the_file(problems):
    assert problems("ollama: 5", {"OLLAMA_MODELS": "/m"}) == [
        "fleet.yaml:1:9: ollama: '5' is not a section of keys and values"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("listn: 1", "1:1: listn: unknown key (did you mean listen?)"),
        ("queue: {a: 1}", "1:9: queue.a: unknown key (known: limit, per_tenant, timeout)"),
        ("groups: [{name: a, colour: 1}]", "1:20: groups[0].colour: unknown key"),
        ("queue: {limit: -1}", "1:16: queue.limit: '-1' is less than 0"),
        ("queue: {limit: 4294967296}", "1:16: queue.limit: '4294967296' is more than 2147483647"),
        ("queue: {limit: many}", "1:16: queue.limit: 'many' is not a whole number"),
        ("queue: {limit: 1.5}", "1:16: queue.limit: '1.5' is not a whole number"),
        ("queue:\n  limit: [1]", "2:10: queue.limit: a list is not a whole number"),
        ("queue:", "1:7: queue: has no value (write one, or remove the key)"),
        ("queue: {timeout: 0}", "1:18: queue.timeout: '0' is not more than 0"),
        ("queue: {timeout_s: 5}", "1:9: queue.timeout_s: unknown key (did you mean timeout?)"),
        ("[]", "1:1: a list is not a section of keys and values"),
        ("hello", "1:1: 'hello' is not a section of keys and values"),
        ("groups: {}", "1:9: groups: a section is not a list"),
        ("groups: [{}]", "1:10: groups[0].name: is required"),
        ("models: []", "1:9: models: a list is not a section of keys and values"),
        (
            "models: {a b: {}}",
            "1:10: models[\"a b\"]: 'a b' is not the name of a model such as qwen3:8b",
        ),
        ("insecure_no_auth: si", "1:19: insecure_no_auth: 'si' is neither true nor false"),
        ("ollama: {models: ''}", "1:18: ollama.models: '' is empty"),
        ("ollama: {models: []}", "1:18: ollama.models: a list is not a path"),
        ("defaults: {remotes: []}", "1:21: defaults.remotes: a list of at least 1 is needed"),
        ("defaults: {debug: on}", "1:19: defaults.debug: 'on' is not a whole number"),
        (
            "tracing: {endpoint: 'box:4318'}",
            "1:21: tracing.endpoint: 'box:4318' is not an address such as http://127.0.0.1:4318",
        ),
        ("tracing: {sample: 10}", "1:19: tracing.sample: '10' is more than 1"),
        ("queue: {limit: 2147483648}", "1:16: queue.limit: '2147483648' is more than 2147483647"),
        ("defaults: {llm_library: [a]}", "1:25: defaults.llm_library: a list is not text"),
        (
            "defaults: {env: {A: ~}}",
            "1:21: defaults.env.A: has no value (write one, or remove the key)",
        ),
        (
            "routing:\n  strategy: round-robin",
            (
                "2:13: routing.strategy: 'round-robin' is not one of adaptive, ip_hash,"
                " late_least_conn, least_conn, least_loaded, peak_ewma, power_of_two, round_robin,"
                " session, weighted_least_conn, weighted_round_robin (did you mean round_robin?)"
            ),
        ),
        (
            "defaults: {env: {OLLAMA_HOST: x}}",
            (
                "1:18: defaults.env.OLLAMA_HOST: OLLAMA_HOST cannot be set here: every instance has"
                " an address of its own; use instance_ports, or listen"
            ),
        ),
        (
            "metrics: {listen: '0.0.0.0:9464'}",
            (
                "1:19: metrics.listen: 0.0.0.0:9464 can be reached by others, and nobody is asked"
                " for a key (listen on 127.0.0.1, set auth.required: true, or insecure_no_auth:"
                " true to let every caller in)"
            ),
        ),
        (
            "insecure_no_auth: true\nauth: {required: true}",
            (
                "1:19: insecure_no_auth: lets every caller in, and auth.required lets none in"
                " without a key (set one of them only)"
            ),
        ),
        (
            "instances: [{name: gpu, url: http://a}]\ngroups: [{name: gpu}]",
            "1:20: instances[0].name: 'gpu' stands in groups[0].name already",
        ),
        *(
            (
                f"instances: [{{name: a, url: '{one}'}}, {{name: b, url: '{other}'}}]",
                (
                    f"1:{48 + len(one)}: instances[1].url: is the server of instances[0] already"
                    " (one server is one instance; `slots` says how many requests it may have at"
                    " once)"
                ),
            )
            for one, other in (
                ("http://box:1", "http://box:1/"),
                ("http://box", "http://BOX:80"),
                ("https://box:443", "https://box"),
                ("http://localhost:11500", "http://127.0.0.1:11500"),
                ("http://[::1]", "http://[::1]:80"),
            )
        ),
        (
            "repair: {hangs: no, inference_probe: 5m}",
            (
                "1:38: repair.inference_probe: finds instances that hang, and repair.hangs is false"
                " (remove it, or set repair.hangs: true)"
            ),
        ),
        (
            "groups: [{name: a, gpus: [0, GPU-X]}, {name: b, gpus: [gpu-x]}]",
            (
                "1:56: groups[1].gpus[0]: 'gpu-x' stands in groups[0].gpus[1] already"
                " (a GPU serves one group; raise count for more instances on it)"
            ),
        ),
        (
            "groups: [{name: a}, {name: b, gpus: auto}]",
            (
                "1:37: groups[1].gpus: groups[0] takes all remaining GPUs already"
                " (auto can stand in one group only; name the GPUs of the others)"
            ),
        ),
        (
            "models: {a: {groups: [gpux]}}",
            "1:23: models.a.groups[0]: there is no group 'gpux' (did you mean gpu?)",
        ),
        ("models: {a: {}, 'A:latest': {}}", "1:17: models.A:latest: is the same model as models.a"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_reason(text, line, problems):
    """Position of the key or the value at fault, path, what was written, and a way out."""
    assert problems(text) == [f"fleet.yaml:{line}"]


def test_all_mistakes_are_reported_at_once_in_reading_order(problems):
    """A mistake of one kind hides none of another: structure, values, rules, what is outside."""
    text = (
        "listen: nowhere\n"
        "queue: {limitt: 1}\n"
        "groups:\n"
        "  - {name: a, gpuz: [0]}\n"
        "  - {name: a, gpus: !mine [0]}\n"
        "models: {m: {groups: [b]}}\n"
        "listen: 5\n"
    )
    environ = {"FLEET_LOGS__KEEP": "all", "FLEET_GROUPS__7__COUNT": "1", "FLEET_NONSENSE": "1"}
    found = problems(text, environ, queue__timeout="soon")
    places = [line.split(": ")[0] for line in found]
    assert places[:8] == [
        "FLEET_GROUPS__7__COUNT",
        "fleet.yaml:1:9",
        "fleet.yaml:2:9",
        "fleet.yaml:4:15",
        "fleet.yaml:5:12",
        "fleet.yaml:5:21",
        "fleet.yaml:6:23",
        "fleet.yaml:7:1",
    ]
    assert set(places[8:]) == {"--queue.timeout", "FLEET_LOGS__KEEP", "FLEET_NONSENSE"}


def test_a_mistake_outside_the_file_names_the_variable_or_the_flag(problems):
    found = problems("", {"FLEET_QUEUE__LIMIT": "x", "FLEET_GROUPS": "[1,"}, listen="y", a__="z")
    assert sorted(line.split(": ")[0] for line in found) == [
        "--a.", "--listen", "FLEET_GROUPS", "FLEET_QUEUE__LIMIT"
    ]  # fmt: skip


def test_many_mistakes_are_cut_short(problems):
    """A file that is wrong throughout says so once, at the place from where it goes on."""
    found = problems("\n".join(f"x{n}: 1" for n in range(MAX_PROBLEMS * 3)))
    assert len(found) == MAX_PROBLEMS + 1
    assert "more problems follow from here" in found[-1]


def test_an_open_address_is_allowed_when_told_in_so_many_words(loads):
    config = loads("listen: 0.0.0.0:80\ninsecure_no_auth: yes").config
    assert (config.listen, config.insecure_no_auth) == (Address("0.0.0.0", 80), True)


@pytest.mark.parametrize(
    ("text", "required"),
    [
        ("", False),
        ("listen: 0.0.0.0:80", True),
        ("listen: 0.0.0.0:80\ninsecure_no_auth: yes", False),
        ("listen: 0.0.0.0:80\nauth: {required: no}", False),
        ("auth: {required: yes}", True),
        ("auth: {required: yes}\nmetrics: {listen: '0.0.0.0:9464'}", True),
        ("listen: 0.0.0.0:80\nmetrics: {listen: '0.0.0.0:9464'}", True),
    ],
)
def test_keys_are_required_where_others_can_reach_it_unless_somebody_says_no(loads, text, required):
    assert loads(text).config.keys_required is required


def test_a_pinned_model_may_be_in_two_groups(loads):
    text = "groups: [{name: a, gpus: [0], models: [m]}, {name: b, models: [m]}]"
    assert [group.models for group in loads(text).config.groups] == [("m",), ("m",)]


def test_the_rules_between_parts_hold_in_python_too():
    """A Config that contradicts itself cannot be made."""
    auto = GroupConfig(name="a", gpus="auto")
    with pytest.raises(ValueError, match=r"groups\[1\].name: 'a' stands in groups\[0\].name"):
        Config(groups=(auto, GroupConfig(name="a", gpus=(0,))))
    with pytest.raises(ValueError, match=r"groups\[1\].gpus: groups\[0\] takes all"):
        Config(groups=(auto, GroupConfig(name="b", gpus="auto")))
