"""Laws for every configuration and for every text: the round trip, and nothing but ConfigError."""

import copy
import json
import re
import string
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ollama_fleet.config import (
    Address,
    Config,
    ExternalConfig,
    GroupConfig,
    LimitsConfig,
    LogsConfig,
    ModelConfig,
    OllamaConfig,
    QueueConfig,
    RoutingConfig,
    Settings,
    SupervisionConfig,
    load,
    schema,
    show,
)
from ollama_fleet.config.problems import MAX_PROBLEMS
from ollama_fleet.config.scalars import MAX_BYTES, MAX_DURATION_S
from ollama_fleet.errors import ConfigError

EXAMPLE = (Path(__file__).parents[2] / "fleet.yaml").read_text()
FULL = re.sub(r"(?m)^( *)#(?=\S)", r"\1", EXAMPLE)
TREE = yaml.safe_load(FULL)
SCHEMA = jsonschema.Draft202012Validator(schema())

# One folder serves all examples of a law; building a Config takes long on a busy machine.
LAW = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
QUICK = settings(LAW, max_examples=200)

durations = st.floats(1e-9, MAX_DURATION_S)
any_durations = st.floats(-MAX_DURATION_S, MAX_DURATION_S)
sizes = st.one_of(st.integers(0, MAX_BYTES), st.integers(0, 999).map(lambda n: n * 2**30))
counts = st.integers(1, 2**31 - 1)
names = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)
models = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}(:[a-z0-9][a-z0-9._-]{0,9})?", fullmatch=True)
any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
texts = any_text.filter(str.strip)
variables = st.from_regex(r"X_[A-Za-z0-9_]{1,140}", fullmatch=True)
gpu_ids = st.one_of(st.integers(0, 999), st.from_regex(r"GPU-[0-9a-f-]{4,36}", fullmatch=True))

SETTINGS = {
    "num_parallel": counts, "max_loaded_models": counts, "max_queue": counts,
    "context_length": counts, "keep_alive_s": any_durations, "load_timeout_s": any_durations,
    "kv_cache_type": st.sampled_from(["q8_0", "f16"]), "flash_attention": st.booleans(),
    "sched_spread": st.booleans(), "gpu_overhead_bytes": sizes, "llama_arg_fit": st.booleans(),
    "llama_arg_fit_target_bytes": sizes, "llm_library": texts, "no_cloud": st.booleans(),
    "remotes": st.lists(texts, min_size=1, max_size=2).map(tuple), "debug": st.integers(0, 2),
    "env": st.dictionaries(variables, any_text, max_size=3),
}  # fmt: skip


def _some(fields):
    """Any choice of the fields, each with a value; those that can be None may be."""
    return st.fixed_dictionaries({}, optional=fields)


def _groups(parts):
    """Groups with names and GPUs of their own, at most the first of them `auto`."""
    names, settings_of, gpus, auto = parts
    shares = [tuple(gpus[index :: len(names)]) for index in range(len(names))]
    return tuple(
        GroupConfig(name=name, gpus="auto" if auto and not index else shares[index], **values)
        for index, (name, values) in enumerate(zip(names, settings_of, strict=False))
    )


groups = st.tuples(
    st.lists(names, unique=True, min_size=1, max_size=3),
    st.lists(_some({**SETTINGS, "count": counts}), min_size=3, max_size=3),
    st.lists(gpu_ids, unique=True, max_size=5),
    st.booleans(),
).map(_groups)
externals = st.lists(
    st.builds(
        ExternalConfig, name=names.map("x-{}".format), url=st.just("http://a:1"), slots=counts
    ),
    unique_by=lambda external: external.name,
    max_size=2,
).map(tuple)
limits = _some(
    {"body_bytes": sizes, "header_timeout_s": durations, "first_byte_timeout_s": durations}
).map(lambda values: LimitsConfig(**values))
supervision = _some(
    {"drain_timeout_s": durations, "start_limit": counts, "backoff_first_s": durations}
).map(lambda values: SupervisionConfig(**values))
shipped_or_not = _some(SETTINGS).map(lambda values: Settings(**values))
configs = st.builds(
    Config,
    listen=st.builds(Address, st.sampled_from(["127.0.0.1", "::1"]), st.integers(0, 65535)),
    insecure_no_auth=st.booleans(),
    ollama=st.builds(
        OllamaConfig,
        binary=texts.filter(lambda text: "/" not in text),
        models=texts.map(lambda text: Path("/", text)),
    ),
    instance_ports=st.one_of(st.just("auto"), st.integers(1, 65535)),
    defaults=shipped_or_not,
    groups=groups,
    instances=externals,
    models=st.dictionaries(
        models,
        st.builds(ModelConfig, preload=st.booleans(), replicas=st.none() | counts),
        max_size=3,
    ),
    routing=st.builds(RoutingConfig, strategy=st.sampled_from(["least_conn", "round_robin"])),
    queue=st.builds(QueueConfig, limit=counts, timeout_s=durations),
    limits=limits,
    supervision=supervision,
    logs=st.builds(LogsConfig, max_bytes=sizes, keep=counts),
)


def _loaded(folder, data, environ=None):
    (folder / "fleet.yaml").write_bytes(data if isinstance(data, bytes) else data.encode())
    return load(None, environ=environ or {}, cwd=folder, overrides={})


@LAW
@given(config=configs, origin=st.booleans())
def test_what_is_shown_loads_to_the_same(config, origin, tmp_path):
    """`config show` prints a file that means exactly the configuration it was made from."""
    before = _loaded(tmp_path, "")
    text = show(type(before)(config, None, _AnyOrigin()), origin=origin)
    assert _loaded(tmp_path, text).config == config


class _AnyOrigin(dict):
    def __missing__(self, path):
        return "fleet.yaml:1:1"


@LAW
@given(config=configs)
def test_what_is_shown_satisfies_the_schema(config, tmp_path):
    """The schema accepts what the records accept, read by any YAML reader."""
    text = show(type(_loaded(tmp_path, ""))(config, None, {}))
    SCHEMA.validate(yaml.safe_load(text))


@LAW
@given(config=configs)
def test_every_shown_value_has_an_origin(config, tmp_path):
    """Whoever shows a configuration that was loaded can say of each value who said it."""
    text = show(type(_loaded(tmp_path, ""))(config, None, {}))
    loaded = _loaded(tmp_path, text)
    for line in show(loaded, origin=True).splitlines():
        assert line.endswith(":") or re.search(r"  # fleet\.yaml:\d+:\d+$", line)


def _check_problems(error, data):
    """Each problem takes one line and stands inside the file."""
    text = data.decode("utf-8-sig", "replace") if isinstance(data, bytes) else data
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    assert 0 < len(error.problems) <= MAX_PROBLEMS + 1
    for problem in error.problems:
        where = re.match(r"fleet\.yaml:(\d+):(\d+): \S", problem)
        assert where is not None, problem
        assert problem.isprintable()
        assert 1 <= int(where[1]) <= len(lines)
        assert 1 <= int(where[2]) <= len(lines[int(where[1]) - 1]) + 1


def _try(folder, data):
    try:
        _loaded(folder, data)
    except ConfigError as error:
        _check_problems(error, data)


@QUICK
@given(data=st.binary(max_size=200))
def test_no_bytes_are_a_traceback(data, tmp_path):
    """Any bytes whatsoever are a configuration or a ConfigError with positions."""
    _try(tmp_path, data)


TOKENS = [
    "a", "listen", "groups", "models", "env", "name", ":", ": ", "- ", "? ", "\n", "  ", "\n  ",
    "{", "}", "[", "]", ",", "&x ", "*x", "!t ", "!!str ", "'", '"', "|", ">", "#", "%", "---\n",
    "...\n", "~", "\t", "\0", "\x85", "\u2028", "\ufeff", "<<", "0", "-1", "1e400", "\\", "auto",
]  # fmt: skip


@QUICK
@given(text=st.lists(st.sampled_from(TOKENS), max_size=40).map("".join))
def test_no_yaml_is_a_traceback(text, tmp_path):
    """Nor is anything that looks like YAML."""
    _try(tmp_path, text)


spans = st.tuples(st.integers(0, len(FULL)), st.integers(0, 40))
edits = st.lists(
    st.tuples(spans, st.one_of(st.sampled_from(TOKENS), spans, st.text(max_size=5))), max_size=6
)


@QUICK
@given(edits=edits)
def test_no_damaged_file_is_a_traceback(edits, tmp_path):
    """A real file with pieces cut out, moved, and replaced is refused in words, or it is fine."""
    text = FULL
    for (start, length), change in edits:
        new = change if isinstance(change, str) else FULL[change[0] : change[0] + change[1]]
        text = text[:start] + new + text[start + length :]
    _try(tmp_path, text.encode("utf-8", "replace"))


json_like = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3)
    ),
    max_leaves=5,
)


@QUICK
@given(data=st.data())
def test_no_value_of_another_kind_is_a_traceback(data, tmp_path):
    """Every key of a full file takes any value, of the wrong kind too, without a traceback."""
    tree = copy.deepcopy(TREE)
    here = tree
    while isinstance(here, dict | list) and here:
        steps = list(here) if isinstance(here, dict) else list(range(len(here)))
        parent, step = here, data.draw(st.sampled_from(steps))
        here = here[step]
        if data.draw(st.integers(0, 3)) == 0:
            break
    parent[step] = data.draw(json_like)
    _try(tmp_path, json.dumps(tree, ensure_ascii=False).encode("utf-8", "replace"))


VARIABLES = [
    "FLEET_LISTEN", "FLEET_GROUPS", "FLEET_GROUPS__0__NAME", "FLEET_QUEUE__LIMIT", "FLEET_QUEUE",
    "FLEET_MODELS__A", "FLEET_", "FLEET___", "FLEET_DEFAULTS__ENV__A__B", "FLEET_X__0", "HOME",
    "FLEET_GROUPS__9", "FLEET_GROUPS__0__GPUS__1__2", "OLLAMA_MODELS",
]  # fmt: skip
variable_texts = st.one_of(
    st.text(max_size=8), st.lists(st.sampled_from(TOKENS), max_size=6).map("".join)
)


@QUICK
@given(
    environ=st.dictionaries(st.sampled_from(VARIABLES), variable_texts),
    text=st.sampled_from(["", "groups: [{name: a}]", "groups: 1", "queue: []", "- 1", "a: 1"]),
)
def test_no_variable_is_a_traceback(environ, text, tmp_path):
    """Any variables are a configuration or a ConfigError that names them or the file."""
    try:
        _loaded(tmp_path, text, environ)
    except ConfigError as error:
        for problem in error.problems:
            assert re.match(r"(fleet\.yaml:\d+:\d+|FLEET_\w*|OLLAMA_MODELS): ", problem)
            assert problem.isprintable()


def _refused_by_schema(tree):
    return next(SCHEMA.iter_errors(tree), None) is not None


@pytest.mark.parametrize(
    "wrong", [None, [["x"]], {"x": {"y": "z"}}], ids=["null", "list", "section"]
)
def test_schema_and_records_refuse_the_same_kinds(wrong, tmp_path):
    """A value of a wrong kind in any place is refused by both or by neither."""
    for path, tree in _every_place(wrong):
        try:
            _loaded(tmp_path, json.dumps(tree))
        except ConfigError:
            refused = True
        else:
            refused = False
        assert refused == _refused_by_schema(tree), path


def _every_place(wrong):
    """The full file once for each of its values, that value replaced."""
    for path in _paths(TREE):
        tree = copy.deepcopy(TREE)
        here = tree
        for step in path[:-1]:
            here = here[step]
        here[path[-1]] = wrong
        yield path, tree


def _paths(value, path=()):
    steps = (
        range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
    )
    for step in steps:
        yield (*path, step)
        yield from _paths(value[step], (*path, step))
