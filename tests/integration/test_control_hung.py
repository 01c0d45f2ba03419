"""A fleet that hangs is told of as one, however many have asked it in vain."""

import socket

import pytest

from ollama_fleet.cli.control import Control, NoAnswer
from ollama_fleet.directories import Directories


def test_a_socket_full_of_those_who_gave_up_is_a_fleet_that_does_not_answer(tmp_path):
    directories = Directories.find({"FLEET_STATE_DIR": str(tmp_path)})
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(directories.socket))
        hung.listen(0)
        reasons = []
        for _ in range(4):
            with pytest.raises(NoAnswer) as refused:
                Control(directories).read("/v1/status", 0.2)
            reasons.append(refused.value.reason)
    assert reasons[0] == "the fleet has not answered for 0.2 s"
    assert reasons[-1] == "the fleet lets nobody in"
