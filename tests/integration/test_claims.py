import socket
import subprocess
import sys

from fleet_process import until

from ollama_fleet.bench.ports import free_port
from ollama_fleet.control.ports import Claims

HOLD = """
import sys
from pathlib import Path
from ollama_fleet.control.ports import Claims
claims = Claims(Path(sys.argv[1]))
print(next(claims.draw("127.0.0.1", int(sys.argv[2]))), flush=True)
sys.stdin.read()
"""


def test_two_fleets_never_draw_the_same_port_and_a_dead_one_holds_none(tmp_path):
    first = free_port(20)
    command = [sys.executable, "-c", HOLD, str(tmp_path), str(first)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        theirs = int(other.stdout.readline())
        claims = Claims(tmp_path)
        ours = next(claims.draw("127.0.0.1", first))
        assert ours != theirs
        claims.release()
        other.kill()
    again = Claims(tmp_path)
    assert until(lambda: next(again.draw("127.0.0.1", theirs)) == theirs)
    again.release()


def test_a_port_on_which_somebody_listens_is_passed_over(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        claims = Claims(tmp_path)
        assert next(claims.draw("127.0.0.1", taken)) != taken
        claims.release()


def test_a_port_that_is_no_longer_needed_may_be_drawn_again(tmp_path):
    claims, first = Claims(tmp_path), free_port(20)
    kept, given_up = (next(claims.draw("127.0.0.1", first)) for _ in range(2))
    claims.keep([kept])
    assert next(claims.draw("127.0.0.1", given_up)) == given_up
    assert next(claims.draw("127.0.0.1", kept)) != kept
    claims.release()
