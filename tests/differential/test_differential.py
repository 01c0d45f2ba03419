"""The same request straight to one Ollama and through the router: the same answer."""

import re
from pathlib import Path

import pytest
import rows_cloud
import rows_failures
from all_rows import TABLE
from compare import answers, differences
from fleet_process import until
from judging import Differs, check
from known_differences import MEANT, NOT_MEANT
from request_table import CHAT, SHORT, get, post

from ollama_fleet.api import app

PS = get("ps", "/api/ps")
LOADED = post("load", "/api/generate", {"model": CHAT, "keep_alive": "1h", "stream": False})
UNLOADED = post("unload", "/api/generate", {"model": CHAT, "keep_alive": 0})
ANSWERED = post(
    "answer, and unload",
    "/api/generate",
    {"model": CHAT, "prompt": "hi", "keep_alive": 0, "stream": False, "options": SHORT},
)
MISTAKEN = post(
    "a mistake",
    "/api/generate",
    {"model": CHAT, "prompt": "hi", "stream": False, "options": {"num_predict": "many"}},
    500,
)
LISTED = b'"name":"tiny:latest"'
CHANGES = {"none is loaded": UNLOADED, "one is loaded": LOADED, "one was": ANSWERED}


def cases(kind, rows):
    """The rows that a kind of Ollama can be asked; those with a known difference must fail."""
    return [
        pytest.param(row, id=row.name.replace(" ", "-"), marks=_known(kind, row))
        for row in rows
        if kind in row.on
    ]


def _known(kind, row):
    known = NOT_MEANT.get(row.name)
    return [_xfail(known.reason)] if known and kind in known.on else []


def _xfail(reason):
    return pytest.mark.xfail(strict=True, raises=Differs, reason=reason)


@pytest.mark.parametrize("row", cases("sim", TABLE))
def test_the_router_answers_as_one_simulated_ollama(simulated, row):
    """Status line, headers, framing and body are those of one Ollama."""
    check(simulated, row)


@pytest.mark.real
@pytest.mark.parametrize("row", cases("real", TABLE))
def test_the_router_answers_as_one_real_ollama(real, row):
    """The same beside the program that the simulation imitates."""
    check(real, row)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_router_lists_what_a_simulated_ollama_has_in_memory(simulated, change):
    """After a load or an unload, as soon as the router has looked."""
    check_ps(simulated, change)


@pytest.mark.real
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_router_lists_what_a_real_ollama_has_in_memory(real, change):
    """The same beside the program that the simulation imitates."""
    check_ps(real, change)


def check_ps(pair, change):
    check(pair, change)

    def agree():
        straight, routed = pair.ask(PS)
        (listed,) = answers(straight, PS.methods)
        shown = LISTED in listed.body
        return shown == (change is LOADED) and not differences(straight, routed, PS.methods)

    until(agree, what="the same list of models in memory")


def test_a_request_that_a_simulated_ollama_refuses_may_leave_its_model_in_memory(simulated):
    check_refused(simulated)


@pytest.mark.real
def test_a_request_that_a_real_ollama_refuses_may_leave_its_model_in_memory(real):
    check_refused(real)


def check_refused(pair):
    """The fleet loads a model before it can know that its request will be refused."""
    check_ps(pair, UNLOADED)
    check(pair, MISTAKEN)
    straight, _ = pair.ask(PS)
    assert LISTED not in straight
    until(lambda: LISTED in pair.ask(PS)[1], what="the model in the fleet's memory")


def test_relayed_answers_name_their_instance_and_others_do_not(simulated):
    """X-Fleet-Instance stands where an instance answered, and is all that is added."""
    relayed, own = post("", "/api/show", {"model": CHAT}), get("", "/api/tags")
    for row, expected in ((relayed, b"one"), (own, None)):
        straight, routed = (answers(raw, row.methods)[0] for raw in simulated.ask(row))
        assert routed.header(b"x-fleet-instance") == expected
        assert straight.header(b"x-fleet-instance") is None


def test_the_table_asks_for_every_route_and_no_row_twice():
    """A route without a row is a route that may differ unseen."""
    names = [row.name for row in TABLE]
    assert len(set(names)) == len(names)
    others = (*rows_failures.SIMULATED, *rows_failures.REAL, *rows_cloud.REACHED)
    assert {*NOT_MEANT, *MEANT} <= {*names, *(row.name for row in others)}
    for path, methods in app.ROUTES.items():
        sent = {s.method for row in (*TABLE, PS) for s in row.sent if _leads_to(path, s.target)}
        assert set(methods) <= sent, path


def _leads_to(path, target):
    if ":" in path:  # its last part names something
        return target.startswith(f"/{path.partition(':')[0]}")
    return target.partition("?")[0] == path


def test_every_difference_that_is_meant_names_a_test_and_every_row_of_its_own():
    """A reference to a test that is gone, or a row that may differ unsaid, is a lie."""
    root = Path(__file__).parents[2]
    text = (root / "docs" / "differences.md").read_text()
    references = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(references) >= 10
    for file, test in references:
        assert f"def {test}(" in (root / file).read_text(), f"{file}::{test}"
    assert all(f"`{row}`" in text for row in MEANT)
