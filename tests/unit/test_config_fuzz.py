"""Whatever a file or a variable holds: a configuration, or a ConfigError with positions."""

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ollama_fleet.config import load, schema
from ollama_fleet.config.problems import MAX_PROBLEMS
from ollama_fleet.errors import ConfigError

EXAMPLE = (Path(__file__).parents[2] / "fleet.yaml").read_text()
FULL = re.sub(r"(?m)^( *)#(?=\S)", r"\1", EXAMPLE)  # every optional setting switched on
TREE = yaml.safe_load(FULL)
SCHEMA = jsonschema.Draft202012Validator(schema())

# One folder serves all examples of a law; on a busy machine a load takes long.
QUICK = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _loaded(folder, data, environ=None):
    (folder / "fleet.yaml").write_bytes(data if isinstance(data, bytes) else data.encode())
    return load(None, environ=environ or {}, cwd=folder, overrides={})


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
