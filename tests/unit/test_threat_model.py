"""docs/threat-model.md claims nothing that no test shows."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = (ROOT / "docs" / "threat-model.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]*`tests/[^|]*) \|$", MODEL, re.MULTILINE)
TESTS = sorted({test for _, shown in ROWS for test in re.findall(r"`([^`]+)`", shown)})


@cache
def named_in(path):
    tree = ast.parse((ROOT / path).read_text())
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize("test", TESTS)
def test_a_test_that_is_named_exists(test):
    path, _, name = test.partition("::")
    assert name in named_in(path)


def test_every_claim_names_a_test():
    defended = MODEL.partition("## What is defended")[2].partition("## What is not")[0]
    rows = re.findall(r"^\| (?!claim|---)(.+) \|$", defended, re.MULTILINE)
    assert len(rows) == len(ROWS) > 20
