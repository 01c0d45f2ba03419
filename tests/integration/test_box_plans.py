"""What `fleet plan` prints for five boxes, each with a 70B, an 8B and an embedding model wanted.

Beside each fleet.yaml in `box_plans`, whose first line names the box, is what is printed for it:
the plan, or why there is none. REWRITE_PLANS=1 writes these anew, and where the manual shows them;
look at the difference then.
"""

import os
import pty
import re
import select
from pathlib import Path

import pytest
from cli_fixtures import WAIT_S, Cli

from ollama_fleet.cli.commands.plan import document, show
from ollama_fleet.cli.table import breadth
from ollama_fleet.config import load
from ollama_fleet.directories import Directories
from ollama_fleet.errors import PlacementError
from ollama_fleet.fleet.prepare import prepare

PLANS = Path(__file__).parent / "box_plans"
PAGE = Path(__file__).parents[2] / "docs" / "choosing-groups.md"
BOXES = {"8xH100", "2x24-8", "A100-7xMIG", "4xMI300X", "laptop"}
REWRITE = os.environ.get("REWRITE_PLANS") == "1"
FILES = sorted(PLANS.glob("*.yaml"))


def box_of(path):
    return re.match(r"# simulate: ([\w-]+)\.", path.read_text())[1]


def prepared(path, folder):
    """The plan on the simulated box; ports are counted up from the same one everywhere."""
    environ = {"HOME": str(folder), "FLEET_STATE_DIR": str(folder / "state")}
    ports = {"instance_ports": "11435"}
    loaded = load(path, environ=environ, cwd=folder, overrides=ports)
    directories = Directories.find(environ)
    directories.create()
    return prepare(loaded, directories=directories, environ=environ, simulate=box_of(path))


def said(path, folder):
    try:
        return show(prepared(path, folder), wide=False) + "\n"
    except PlacementError as error:
        return f"{error}\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_box_has_the_plan_that_is_written_down(path, tmp_path):
    written = path.with_suffix(".txt")
    plan = said(path, tmp_path)
    if REWRITE:
        written.write_text(plan)
    assert plan == written.read_text()
    assert all(breadth(line) <= 80 for line in plan.splitlines() if line[:1] in "┌│└")


def test_every_box_has_a_plan_with_all_three_models_and_no_plan_is_left_over():
    assert {box_of(path) for path in FILES if path.stem.endswith("-three")} == BOXES
    assert {path.stem for path in PLANS.glob("*.txt")} == {path.stem for path in FILES}


def test_without_a_file_an_integrated_gpu_stays_idle_on_a_simulated_box_too(tmp_path):
    environ = {"HOME": str(tmp_path), "FLEET_STATE_DIR": str(tmp_path / "state")}
    loaded = load(None, environ=environ, cwd=tmp_path, overrides={})
    directories = Directories.find(environ)
    directories.create()
    placement = prepare(
        loaded, directories=directories, environ=environ, simulate="laptop"
    ).placement
    assert [[gpu.index for gpu in spec.gpus] for spec in placement.instances] == [[0]]
    assert any("is integrated" in note and "idle" in note for note in placement.notes)


def test_the_manual_shows_these_plans():
    """Whole, or as far as an ellipsis; and each fleet.yaml as it is here."""
    page = PAGE.read_text()
    known = {(path.read_text().partition("\n")[2], box_of(path)): path for path in FILES}
    shown = set()
    fences = page.split("```")
    for at, printed in enumerate(fences):
        if match := re.match(r"console\n\$ fleet plan --simulate (\S+)\n", printed):
            shown.add(match[1])
            path = known[fences[at - 2].removeprefix("yaml\n"), match[1]]
            plan = path.with_suffix(".txt").read_text().splitlines(keepends=True)
            if printed.endswith("…\n"):
                plan[printed.count("\n") - match[0].count("\n") - 1 :] = ["…\n"]
            fences[at] = match[0] + "".join(plan)
    assert shown == BOXES
    if REWRITE:
        PAGE.write_text("```".join(fences))
    assert "```".join(fences) == PAGE.read_text()


def test_programs_are_told_the_whole_topology(tmp_path):
    """All that the drawing shows, and the other end of each link by its UUID."""
    gpus = document(prepared(PLANS / "4xMI300X-three.yaml", tmp_path))["gpus"]
    uuids = [gpu["uuid"] for gpu in gpus]
    for gpu in gpus:
        assert gpu["links"] == [
            {"uuid": other, "kind": "xgmi", "bandwidth_bytes_per_s": 64 * 10**9}
            for other in uuids
            if other != gpu["uuid"]
        ]
    assert [gpu["numa_node"] for gpu in gpus] == [0, 0, 1, 1]
    assert gpus[3]["cpus"] == [*range(96, 192), *range(288, 384)]
    slices = document(prepared(PLANS / "A100-7xMIG-split.yaml", tmp_path))["gpus"]
    assert {gpu["kind"] for gpu in slices} == {"slice"}
    assert len({gpu["parent_uuid"] for gpu in slices}) == 1


def test_a_narrow_terminal_that_knows_no_lines_has_the_box_in_ascii(tmp_path):
    """As wide as it is: one node below the other."""
    cli = Cli(tmp_path)
    cli.environ |= {"COLUMNS": "60", "TERM": "xterm", "NO_COLOR": "1", "LC_ALL": "C"}
    cli.environ |= {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"}
    ours, theirs = pty.openpty()
    with cli.running("plan", "--simulate", "8xH100", stdout=theirs):
        os.close(theirs)
        shown = _read(ours)
    assert shown.isascii()
    box = [line for line in shown.splitlines() if line[:1] in {"+", "|"}]
    assert max(map(len, box)) <= 60
    assert [line[2:7] for line in box if line.startswith("| ")] == [f"GPU {n}" for n in range(8)]


def _read(terminal):
    """All that a program writes to a terminal, until it has left."""
    shown = b""
    try:
        while True:
            assert select.select([terminal], [], [], WAIT_S)[0], "it neither writes nor ends"
            shown += os.read(terminal, 65536)
    except OSError:
        return shown.decode()
    finally:
        os.close(terminal)
