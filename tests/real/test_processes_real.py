"""`fleet bench routing` on a real Ollama: instances on CPU sets, every answer whole."""

import os
from functools import partial

import pytest

from ollama_fleet.bench.processes import real
from ollama_fleet.bench.processes.figures import standings
from ollama_fleet.bench.processes.study import Scale, played, turns

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]  # real weights, on a CPU that others use

SCALE = Scale(requests=10, seeds=1, time_scale=1.0)


def test_real_instances_serve_all_of_a_study(box):
    """Each strategy's fleet is started on the same store, asked, and stopped."""
    cpus = [str(cpu) for cpu in sorted(os.sched_getaffinity(0))]
    own = real.Own(box.ollama, box.store, (cpus[0], cpus[-1]), slots=2)
    names = ("adaptive", "round_robin")
    one = real.case(real.Asked("tiny", 5.0, "constant", shorter=16.0), names)
    opening = partial(
        real.started, own=own, model="tiny", environ=os.environ | {"HOME": str(box.home)}
    )
    found = list(played(turns([one], 1), SCALE, opening))
    for each in found:
        assert [f.refused for f in each.measured.outcome.fates] == [""] * SCALE.requests
        assert each.measured.outcome.loads == 0
        assert each.replayed is None
    robin = [f.instance for f in found[1].measured.outcome.fates]
    assert sorted(robin) == ["node0"] * 5 + ["node1"] * 5
    assert [s.row.strategy for s in standings(found, SCALE, judge=False)] == [*names]
