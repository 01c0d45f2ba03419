"""The grammar of scripted faults, and how often they strike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.sim.ollama.faults import Fault, FaultKind, Faults, parse

faults = st.builds(
    Fault,
    kind=st.sampled_from([kind for kind in FaultKind if kind.value not in {"slow", "start_delay"}]),
    model=st.sampled_from(["", "x", "qwen3:8b"]),
    times=st.one_of(st.none(), st.integers(1, 9)),
    after_tokens=st.integers(0, 99),
)


@given(st.lists(faults))
def test_a_script_reads_back_as_itself(script):
    assert parse(" | ".join(map(str, script))) == tuple(script)


def test_the_example_of_the_grammar():
    assert parse("hang:after_tokens=5;model=x;times=1 | slow:factor=4") == (
        Fault(FaultKind.HANG, model="x", times=1, after_tokens=5),
        Fault(FaultKind.SLOW, factor=4.0),
    )
    assert parse("") == ()
    assert str(parse("start_delay:seconds=2")[0]) == "start_delay:seconds=2"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("explode", "not a fault"),
        ("hang:5", "key=value"),
        ("hang:colour=red", "known key"),
        ("hang:times=often", "invalid literal"),
    ],
)
def test_a_bad_script_says_what_is_wrong(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse(text)


def test_a_fault_strikes_its_model_so_many_times():
    script = Faults(parse("busy:model=x;times=2 | slow"))
    kinds = [[fault.kind.value for fault in script.strike(name)] for name in ("X", "y", "x", "x")]
    assert kinds == [["busy", "slow"], ["slow"], ["busy", "slow"], ["slow"]]
    assert str(script) == "slow:factor=2"


def test_only_a_fault_without_a_model_stands_for_the_program():
    assert Faults(parse("cpu_fallback:model=x")).standing(FaultKind.CPU_FALLBACK) is None
    assert Faults(parse("cpu_fallback")).standing(FaultKind.CPU_FALLBACK) is not None
    assert Faults(parse("ignore_term:times=0")).standing(FaultKind.IGNORE_TERM) is None
