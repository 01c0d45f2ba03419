"""A child that prints as fast as it can: its log stays within bounds and nothing is lost."""

import uvloop

from ollama_fleet.bench.flood import KEEP, MAX_BYTES, flood


def test_a_flood_is_captured_whole_and_kept_within_bounds():
    """How fast it is, and how late the loop, are figures of `scripts/soak flood`."""
    report = uvloop.run(flood(0.5))
    assert report.mb_per_s > 0
    assert report.lost_bytes == 0
    assert report.files <= KEEP + 1
    assert report.largest_file_bytes <= MAX_BYTES
