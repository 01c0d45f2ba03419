"""`scripts/soak flood`: its report says what went wrong."""

import pytest

from ollama_fleet.bench.flood import KEEP, MAX_BYTES, report
from ollama_fleet.sim.ollama.flood import Poured

POURED = Poured(printed_bytes=1_000_000_000, seconds=10.0, longest_write_s=0.02)
SIZES = [MAX_BYTES] * (KEEP + 1)
PUNCTUAL = [0.001] * 1000


def test_a_flood_that_held_up_nobody_holds():
    found = report(POURED, SIZES, PUNCTUAL, lost_bytes=0)
    assert found.holds
    assert (found.mb_per_s, found.loop_lag_p99_ms) == (100.0, 1.0)


@pytest.mark.parametrize(
    ("poured", "sizes", "lags_s", "lost_bytes"),
    [
        (POURED._replace(seconds=20.0), SIZES, PUNCTUAL, 0),
        (POURED._replace(longest_write_s=2.0), SIZES, PUNCTUAL, 0),
        (POURED, [*SIZES, 1], PUNCTUAL, 0),
        (POURED, [MAX_BYTES + 1], PUNCTUAL, 0),
        (POURED, SIZES, [*PUNCTUAL[20:], *[0.06] * 20], 0),
        (POURED, SIZES, PUNCTUAL, 1),
    ],
)
def test_a_child_a_disk_or_a_loop_that_was_held_up_is_told(poured, sizes, lags_s, lost_bytes):
    assert not report(poured, sizes, lags_s, lost_bytes).holds
