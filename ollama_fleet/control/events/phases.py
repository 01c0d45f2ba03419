"""What the phases of an instance and its health come to, as events. Pure."""

from collections.abc import Iterator
from typing import Final

from ollama_fleet.state import Health, Instance, Kind, Notice, Phase

_NTH: Final = {1: "1st", 2: "2nd", 3: "3rd"}


class Life:
    """Follows one instance from phase to phase. An external one's are what its probes say."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._starting_s = 0.0
        self._was_ready = False

    def entered(self, now_s: float) -> Iterator[Notice]:
        """It has just entered the phase it is in; `now_s` is monotonic."""
        instance, phase = self._instance, self._instance.phase
        if phase is Phase.STARTING:
            self._starting_s = now_s
        told = self._external() if instance.spec.external else self._own(now_s)
        if told is not None:
            yield told
        self._was_ready |= phase is Phase.READY

    def _own(self, now_s: float) -> Notice | None:
        instance, cause = self._instance, self._instance.cause
        told: Notice | None = None
        match instance.phase:
            case Phase.STARTING:
                start = instance.starts + 1
                again = f" for the {_nth(start)} time" if start > 1 else ""
                told = self._told(Kind.INSTANCE_STARTING, f"is starting{again}", start=start)
            case Phase.READY:
                took_s = round(now_s - self._starting_s, 3)
                text = f"is ready after {took_s:.1f} s{f', but {cause}' if cause else ''}"
                about: dict[str, float | str] = {"start_s": took_s, "version": instance.version}
                told = self._told(Kind.INSTANCE_READY, text, **about)
            case Phase.STOPPING if cause:
                told = self._told(Kind.INSTANCE_EXITED, cause, pid=instance.pid)
            case Phase.BACKOFF:
                text = f"is started again after a pause: {cause}"
                told = self._told(Kind.INSTANCE_BACKOFF, text, starts=instance.starts)
            case Phase.FAILED:
                text = f"is given up: {cause}"
                told = self._told(Kind.INSTANCE_FAILED, text, starts=instance.starts)
            case Phase.DRAINING:
                left = instance.in_flight
                text = f"takes no new requests; {_in_flight(left)}"
                told = self._told(Kind.INSTANCE_DRAINING, text, in_flight=left)
            case Phase.STOPPED:
                told = self._told(Kind.INSTANCE_STOPPED, "is stopped")
        return told

    def _external(self) -> Notice | None:
        instance = self._instance
        if instance.phase is Phase.BACKOFF:
            text = f"does not answer and gets no requests: {instance.cause}"
            return self._told(Kind.INSTANCE_UNHEALTHY, text)
        if instance.phase is not Phase.READY:
            return None
        if self._was_ready:
            return self._told(Kind.INSTANCE_READMITTED, "answers again and gets requests")
        return self._told(Kind.INSTANCE_READY, "answers", version=instance.version)

    def _told(self, kind: Kind, text: str, **figures: float | str) -> Notice:
        return Notice(kind=kind, text=text, instance=self._instance.name, figures=figures)


def of_health(instance: Instance, before: Health) -> Iterator[Notice]:
    """What a change of health comes to. The first answer of a process is part of its start."""
    name = instance.name
    if instance.health is Health.UNHEALTHY:
        text = f"does not answer and gets no requests: {instance.cause}"
        yield Notice(kind=Kind.INSTANCE_UNHEALTHY, text=text, instance=name)
    elif before is Health.UNHEALTHY and instance.health is Health.HEALTHY:
        text = "answers again and gets requests"
        yield Notice(kind=Kind.INSTANCE_READMITTED, text=text, instance=name)


def of_drain(instance: Instance) -> Iterator[Notice]:
    """Its having been taken out of rotation, or put back."""
    name, left = instance.name, instance.in_flight
    if instance.drain is None:
        text = "is given requests again"
        yield Notice(kind=Kind.INSTANCE_UNDRAINED, text=text, instance=name)
    else:
        text = f"is given no new requests ({instance.drain}); {_in_flight(left)}"
        figures: dict[str, float | str] = {"reason": instance.drain, "in_flight": left}
        yield Notice(kind=Kind.INSTANCE_DRAINED, text=text, instance=name, figures=figures)


def _nth(number: int) -> str:
    return _NTH.get(number, f"{number}th")


def _in_flight(count: int) -> str:
    return f"{count} {'is' if count == 1 else 'are'} in flight"
