"""A fleet whose program is replaced under load, and which is then killed: the short form."""

import os

import uvloop

from ollama_fleet.bench.changing.fleet import changed_fleet
from ollama_fleet.bench.changing.rows import killed, upgraded


def test_a_new_program_costs_no_request_and_a_killed_fleet_leaves_nothing_behind():
    with changed_fleet(os.environ) as fleet:
        row = uvloop.run(upgraded(fleet, 20))
        assert row.holds, row.table()
        assert row.figures["requests"] > 20
        figures = killed(fleet, 1).figures  # how long it takes depends on the machine
        assert figures["children_gone_most_s"] is not None
        assert (figures["starts_that_failed"], figures["processes_left_of_the_old"]) == (0, 0)
