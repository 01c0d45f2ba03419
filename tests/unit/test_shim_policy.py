"""Which memory policy a child asks the kernel for, on machines of more nodes than ours have."""

import os

import pytest

from ollama_fleet.control import shim

PREFERRED, PREFERRED_MANY = 1, 5


class Kernel:
    """Takes the system calls, as the C library passes them on; the policy so far is `mode`."""

    def __init__(self, mode):
        self.mode, self.asked = mode, []

    def syscall(self, number, *arguments):
        get, set_ = shim._MEMPOLICY[os.uname().machine]
        if number.value == get:
            arguments[0]._obj.value = self.mode
        else:
            assert number.value == set_
            mode, mask, bits = arguments
            nodes = [n for n in range(8 * len(mask)) if mask[n // 8] >> n % 8 & 1]
            self.asked.append((mode.value, nodes, bits.value - 1 > max(nodes)))  # it takes one off
        return 0


@pytest.fixture(autouse=True)
def _known_machine():
    if os.uname().machine not in shim._MEMPOLICY:
        pytest.skip("the numbers of the system calls are not known for this kind of machine")


@pytest.mark.parametrize("nodes", [[0], [9], [1023]])
def test_one_node_is_preferred(nodes):
    kernel = Kernel(mode=0)
    shim._prefer(kernel, nodes)
    assert kernel.asked == [(PREFERRED, nodes, True)]


@pytest.mark.parametrize("nodes", [[0, 1], [3, 8, 26], [0, 1023]])
def test_several_nodes_are_preferred_together(nodes):
    """The older policy takes one node only: of more it would take the first."""
    kernel = Kernel(mode=0)
    shim._prefer(kernel, nodes)
    assert kernel.asked == [(PREFERRED_MANY, nodes, True)]


@pytest.mark.parametrize("mode", [1, 2, 3, 5])
def test_a_policy_that_is_there_stays(mode):
    kernel = Kernel(mode)
    shim._prefer(kernel, [0])
    assert kernel.asked == []
