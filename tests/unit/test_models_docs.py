"""docs/models.md names the tests that hold what it says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs/models.md").read_text())


@pytest.mark.parametrize(("path", "test"), NAMED, ids=[":".join(each) for each in NAMED])
def test_a_test_that_is_named_is_there(path, test):
    assert f"def {test}(" in (ROOT / path).read_text() or not test


def test_some_are_named():
    assert len(NAMED) > 5
