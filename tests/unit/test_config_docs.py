"""The manual, the published schema and the example say what the records say."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from ollama_fleet.config import Config, load, schema
from ollama_fleet.config.described import descriptions
from ollama_fleet.config.settings import RESERVED, SHIPPED, VARIABLES, Record, Settings

ROOT = Path(__file__).parents[2]
MANUAL = ROOT / "docs" / "configuration.md"
SCHEMA = ROOT / "docs" / "fleet.schema.json"
EXAMPLE = ROOT / "fleet.yaml"
REQUIRED = {"groups[].name", "instances[].name", "instances[].url"}


def _target(node, definitions):
    """The section that a node of the schema leads to, and how its path goes on."""
    if "$ref" in node:
        return definitions[node["$ref"].rpartition("/")[2]], ""
    for inner, step in ((node.get("items"), "[]"), (node.get("additionalProperties"), ".NAME")):
        if isinstance(inner, dict) and "$ref" in inner:
            return _target(inner, definitions)[0], step
    return None, ""


def _keys(section, definitions, prefix=""):
    """Every key below a section: path, node of the schema, whether it must be given."""
    for key, node in section["properties"].items():
        path = prefix + key
        if prefix == "groups[]." and key in _setting_keys():
            continue  # said once, under defaults
        inner, step = _target(node, definitions)
        if inner is None:
            yield path, node, key in section.get("required", ())
        else:
            yield from _keys(inner, definitions, f"{path}{step}.")


def _setting_keys():
    return {info.alias or name for name, info in Settings.model_fields.items()}


def _shown(path, node, required):
    shipped = SHIPPED.get(path.removeprefix("defaults."))
    default = shipped if shipped is not None else node.get("default")
    if required:
        return "required"
    if default is None:
        return "`{}`" if path == "defaults.env" else "unset"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _row(path, node, required):
    variable = VARIABLES.get(path.removeprefix("defaults."))
    sets = f"`{variable.name}`" if variable else ""
    meaning = node["description"].replace("\n", " ")
    cells = [f"`{path}`", _shown(path, node, required), meaning, *([sets] if sets else [])]
    return f"| {' | '.join(cells)} |"


def expected_rows():
    found = schema()
    return [_row(*key) for key in _keys(found, found["$defs"])]


def test_every_key_has_its_row_in_the_manual():
    """A key, its default, its meaning and its variable stand in the manual exactly as in code."""
    lines = MANUAL.read_text().splitlines()
    missing = [row for row in expected_rows() if row not in lines]
    assert missing == []


def test_the_manual_has_no_row_without_a_key():
    rows = [line for line in MANUAL.read_text().splitlines() if re.match(r"\| `[a-z]", line)]
    assert sorted(rows) == sorted(expected_rows())


def test_every_refused_variable_is_in_the_manual():
    rows = [line for line in MANUAL.read_text().splitlines() if re.match(r"\| `[A-Z]", line)]
    assert rows == [f"| `{name}` | {reason} |" for name, reason in RESERVED.items()]


def _records(record=Record):
    for below in record.__subclasses__():
        yield below
        yield from _records(below)


@pytest.mark.parametrize("record", sorted(set(_records()), key=str), ids=lambda each: each.__name__)
def test_every_key_is_described(record):
    """By a docstring under it, whichever record it was inherited from."""
    said = descriptions(record)
    assert said.keys() == record.model_fields.keys()
    assert all(said.values())


def test_only_names_and_addresses_have_no_default():
    """Whatever is not the identity of a thing has a default."""
    found = schema()
    required = {path for path, _, must in _keys(found, found["$defs"]) if must}
    assert required == REQUIRED


def test_the_published_schema_is_up_to_date():
    """docs/fleet.schema.json is what `fleet config schema` prints."""
    assert json.loads(SCHEMA.read_text()) == schema()


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_example_names_its_schema_first():
    first = EXAMPLE.read_text().splitlines()[0]
    reference = re.fullmatch(r"# yaml-language-server: \$schema=(.+)", first)
    assert reference is not None
    assert (EXAMPLE.parent / reference[1]).resolve() == SCHEMA.resolve()


def _switched_on(text):
    """The example with every `#setting` in use; a comment has a blank after its `#`."""
    return re.sub(r"(?m)^( *)#(?=\S)", r"\1", text)


@pytest.mark.parametrize("change", [str, _switched_on], ids=["as it is", "all switched on"])
def test_the_example_is_valid(change, tmp_path):
    """The example loads and satisfies the schema, with its optional settings and without."""
    text = change(EXAMPLE.read_text())
    file = tmp_path / "fleet.yaml"
    file.write_text(text)
    load(file, environ={"HOME": "/home/ada"}, cwd=tmp_path, overrides={})
    jsonschema.validate(yaml.safe_load(text), schema(), jsonschema.Draft202012Validator)


def test_the_example_changes_nothing(tmp_path):
    """Copying the example is as good as having no file."""
    (tmp_path / "fleet.yaml").write_text(EXAMPLE.read_text())
    loaded = load(None, environ={}, cwd=tmp_path, overrides={})
    assert loaded.path == tmp_path / "fleet.yaml"
    assert loaded.config == Config()


def test_all_examples_in_the_manual_are_valid(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", MANUAL.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        file = tmp_path / "fleet.yaml"
        file.write_text(block)
        load(file, environ={"HOME": "/home/ada"}, cwd=tmp_path, overrides={})
