"""Fair shares of the GPUs: of those who wait, whoever has had least is next. Pure.

Fair queueing in virtual time. A flow is what a tenant asks for in one priority class, and has an
account of the GPU-seconds it has had. `charge` one as a request starts, by the estimate; `correct`
the charge when it has ended. A flow that comes back from idleness starts where the
one is that waits and has had least (the class's virtual time): who did not ask has earned nothing,
and owes nothing for what it had while nobody waited.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from ollama_fleet.router.intake import Priority

Flow = tuple[Priority, str]
"""A tenant's requests of one priority."""

ACCOUNTS: Final = 4096  # beyond so many, those of idle flows are closed
_SOON: Final = 16  # requests after which the usual cost has followed most of a change
_NEXT_TO_NOTHING_GPU_S: Final = 1e-6  # enough to have equal flows take turns


class Charge(msgspec.Struct, gc=False):  # one per request
    """What a request has been charged so far, in GPU-seconds."""

    flow: Flow
    gpu_s: float


@dataclass(slots=True)
class _Account:
    had_gpu_s: float
    waiting: int = 0
    usual_gpu_s: float = 0.0  # what a request has taken of late; 0 before the first has ended


class Shares:
    """The accounts of all flows. `join` and `leave` are told of every request that waits."""

    def __init__(self) -> None:
        self._accounts: dict[Flow, _Account] = {}
        self._waiting: dict[Priority, dict[Flow, _Account]] = {p: {} for p in Priority}
        self._virtual_gpu_s = dict.fromkeys(Priority, 0.0)
        self._usual_gpu_s = 0.0

    def virtual_gpu_s(self, priority: Priority) -> float:
        """Where a flow of that class begins that has not been seen yet. It never runs back."""
        return self._virtual_gpu_s[priority]

    def had_gpu_s(self, flow: Flow) -> float:
        """What a flow has had, in virtual time: the less, the sooner it is served."""
        account = self._accounts.get(flow)
        virtual_gpu_s = self._virtual_gpu_s[flow[0]]
        if account is None:
            return virtual_gpu_s
        return account.had_gpu_s if account.waiting else max(account.had_gpu_s, virtual_gpu_s)

    def usual_gpu_s(self, flow: Flow) -> float:
        """What its requests have taken of late; those of all, where it has had none."""
        account = self._accounts.get(flow)
        own_gpu_s = account.usual_gpu_s if account is not None else 0.0
        return own_gpu_s or self._usual_gpu_s or _NEXT_TO_NOTHING_GPU_S

    def join(self, flow: Flow) -> None:
        """One more of its requests waits."""
        account = self._open(flow)
        account.waiting += 1
        self._waiting[flow[0]][flow] = account

    def leave(self, flow: Flow) -> None:
        """One of them waits no longer, whatever has become of it."""
        account = self._accounts[flow]
        account.waiting -= 1
        if not account.waiting:
            del self._waiting[flow[0]][flow]

    def charge(self, flow: Flow, gpu_s: float) -> Charge:
        """One of its requests starts, and is expected to take so much. Call it before `leave`."""
        account, priority = self._open(flow), flow[0]
        least_gpu_s = account.had_gpu_s
        for waiting in self._waiting[priority].values():
            least_gpu_s = min(least_gpu_s, waiting.had_gpu_s)
        self._virtual_gpu_s[priority] = max(self._virtual_gpu_s[priority], least_gpu_s)
        account.had_gpu_s += gpu_s
        return Charge(flow, gpu_s)

    def correct(self, charge: Charge, gpu_s: float) -> None:
        """It has taken so much instead of what it was charged; 0 if it was never served."""
        account = self._accounts.get(charge.flow) or self._open(charge.flow)
        account.had_gpu_s += gpu_s - charge.gpu_s
        charge.gpu_s = gpu_s
        account.usual_gpu_s = _follow(account.usual_gpu_s, gpu_s)
        self._usual_gpu_s = _follow(self._usual_gpu_s, gpu_s)

    def _open(self, flow: Flow) -> _Account:
        """The account of a flow, brought up to the virtual time if it has been idle."""
        account = self._accounts.get(flow)
        if account is None:
            if len(self._accounts) >= ACCOUNTS:
                self._close_idle()
            account = self._accounts[flow] = _Account(self._virtual_gpu_s[flow[0]])
        elif not account.waiting:
            account.had_gpu_s = max(account.had_gpu_s, self._virtual_gpu_s[flow[0]])
        return account

    def _close_idle(self) -> None:
        """Close accounts that say nothing; if all say something, half of those that are idle."""
        idle = [f for f, account in self._accounts.items() if not account.waiting]
        settled = [f for f in idle if self._accounts[f].had_gpu_s <= self._virtual_gpu_s[f[0]]]
        for flow in settled or idle[: len(idle) // 2 + 1]:
            del self._accounts[flow]


def _follow(usual_gpu_s: float, gpu_s: float) -> float:
    """What is usual after one more; one that was never served says nothing."""
    if not usual_gpu_s or not gpu_s:
        return usual_gpu_s or gpu_s
    return usual_gpu_s + (gpu_s - usual_gpu_s) / _SOON
