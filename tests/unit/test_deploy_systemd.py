"""The unit of deploy/systemd fits the program that it starts."""

from configparser import ConfigParser
from pathlib import Path

from click.testing import CliRunner
from deployed import DEPLOY

from ollama_fleet.cli.commands import fleet
from ollama_fleet.config import Config
from ollama_fleet.errors import Exit


def service():
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string((DEPLOY / "systemd" / "ollama-fleet.service").read_text())
    return unit["Service"]


def test_the_command_is_one_that_there_is():
    program, *arguments = service()["ExecStart"].split()
    assert Path(program).name == "fleet"
    assert CliRunner().invoke(fleet, [*arguments, "--help"]).exit_code == 0
    assert CliRunner().invoke(fleet, [*arguments, "--no-such", "--help"]).exit_code == 2


def test_answers_may_end_before_a_stop():
    """Only the fleet gets the signal, and has more time than it takes to drain."""
    assert service()["KillMode"] == "mixed"
    assert float(service()["TimeoutStopSec"]) > 2 * Config().supervision.drain_timeout_s


def test_what_does_not_heal_is_not_tried_again():
    codes = {Exit(int(code)) for code in service()["RestartPreventExitStatus"].split()}
    assert codes == {Exit.USAGE, Exit.HELD, Exit.NOT_ALLOWED, Exit.CONFIG}
    assert service()["Restart"] == "on-failure", "who says `fleet down` means it"


def test_where_the_fleet_keeps_things_can_be_written():
    kept = Path(service()["Environment"].partition("=")[2])
    writable = [Path(each) for each in service()["ReadWritePaths"].split()]
    assert writable[0] in kept.parents
    assert Path("/tmp") in writable, "ports are claimed there"
