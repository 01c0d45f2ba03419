"""A made-up fleet in the middle of its work, as the dashboard would have read it."""

from dataclasses import replace

from snapshot_fixtures import EXPIRES_UNIX_S, GIB, fleet, gpu, instance, row

from ollama_fleet.state import (
    Decision,
    Event,
    Health,
    Kind,
    Live,
    LiveRequest,
    Phase,
    Pull,
    Served,
    Severity,
    Stage,
)
from ollama_fleet.tui.rates import follow
from ollama_fleet.tui.scene import LogLine, Scene
from ollama_fleet.tui.trails import Trail, Trails

NOW_UNIX_S = EXPIRES_UNIX_S - 30 * 60
MODELS = ("qwen3:8b", "llama3.3:70b", "nomic-embed-text:latest", "mistral:7b")
STAGES = (Stage.DECODE, Stage.DECODE, Stage.PREFILL, Stage.LOAD, Stage.QUEUE, Stage.PASSING)


def scene(number=4, requests=12):
    """`number` instances of one GPU each, the last two of four or more in trouble."""
    some = tuple(_instance(n, number) for n in range(number))
    cards = tuple(_card(n) for n in range(number))
    pull = Pull("gemma3:27b", "gpu0", "pulling 9f3c", 4 * GIB, 16 * GIB)
    snapshot = fleet(*some, gpus=cards, pulls=(pull,), waiting=3, notes=("GPU 7 is left out",))
    earlier = tuple(replace(i, tokens=i.tokens - 200 * n) for n, i in enumerate(some))
    before = replace(snapshot, now_s=snapshot.now_s - 2, instances=earlier)
    return Scene(
        snapshot,
        live=Live(requests, tuple(map(_request, range(requests))), _served(number)),
        decisions=tuple(map(_decision, range(requests))),
        lines=tuple(map(_line, range(2 * requests))),
        events=tuple(map(_event, range(4))),
        rates=follow(follow(Scene(before).rates, before), snapshot),
        trails=Trails(200.0, 200, {c.uuid: _trail(n) for n, c in enumerate(cards)}),
    )


def _instance(n, number):
    models = MODELS[: 2 + n % 2]
    made = instance(
        n,
        stored=MODELS,
        resident=tuple(row(m, size=8 * GIB, in_vram=(8 - 4 * (n == 1)) * GIB) for m in models[:-1]),
        in_flight=n % 4,
        in_flight_by_model={"qwen3:8b": n % 4},
        loading=("mistral:7b",) if n == 0 else (),
        requests=1200 + n,
        tokens=50_000 * (n + 1),
    )
    if number >= 4 and n == number - 1:
        gone = "exit code 7: no CUDA device was found"
        return replace(made, phase=Phase.FAILED, cause=gone, resident=(), failures=3, starts=5)
    if number >= 4 and n == number - 2:
        return replace(made, health=Health.UNHEALTHY, cause="3 probes failed", waiting=2)
    return made


def _card(n):
    used, heat = (n + 2) % 12 * GIB, 50.0 + 3 * n
    return gpu(n, utilisation_ratio=n / 16, memory_used_bytes=used, temperature_c=heat)


def _trail(n):
    return Trail(tuple(((step * (n + 1)) % 21) / 20 for step in range(60)))


def _served(number):
    return tuple(Served(f"gpu{n}", 20, 0.08 * (n + 1), 1.5 * (n + 1)) for n in range(number - 1))


def _request(n):
    stage = STAGES[n % len(STAGES)]
    return LiveRequest(
        id=f"request-{n:02}",
        model=MODELS[n % 3],
        instance="" if stage is Stage.QUEUE else f"gpu{n % 4}",
        stage=stage,
        age_s=200.0 / (n + 1),
        stage_s=60.0 / (n + 1),
        tokens=700 - 50 * n if stage is Stage.DECODE else 0,
        prompt_bytes=1000 * 2**n,
        attempts=0 if stage is Stage.QUEUE else 1 + n // 7,
        route="/api/chat",
        tenant=("alice", "batch")[n % 2],
        client=f"10.0.0.{n}",
    )


def _decision(n):
    figures = {f"gpu{i}": (0.5 + i * n / 3, 0.0, i * n / 3, 0.5) for i in range(4)}
    return Decision(
        id=f"request-{n:02}",
        ended_s=NOW_UNIX_S - n,
        model=MODELS[n % 3],
        instance="gpu0",
        strategy="adaptive",
        ending="client_gone" if n == 3 else "completed",
        status=200,
        attempts=1,
        queue_s=0.25 * n,
        load_s=2.0 if n == 2 else 0.0,
        first_byte_s=0.1 + 0.25 * n,
        total_s=3.0 + n,
        output_tokens=40 * n,
        terms=("load", "wait", "decode"),
        scores=tuple(figures.items()),
    )


def _line(n):
    stamp = f"time=2026-11-21T09:10:{n:02}.000Z"
    text = f'{stamp} level={"WARN" if n == 4 else "INFO"} source=server.go:1 msg="line {n}"'
    return LogLine(n, f"gpu{n % 3}", text)


def _event(n):
    kinds = (Kind.INSTANCE_READY, Kind.GPU_HOT, Kind.INSTANCE_FAILED, Kind.CPU_FALLBACK)
    severities = (Severity.INFO, Severity.WARNING, Severity.ERROR, Severity.ERROR)
    return Event(
        number=n + 1,
        unix_s=NOW_UNIX_S - 60 + n,
        kind=kinds[n],
        severity=severities[n],
        text=("is ready after 0.7 s", "is at 91 °C", "was given up", "runs on the CPU")[n],
        instance="" if n == 1 else f"gpu{n}",
        gpu="GPU-1" if n == 1 else "",
        model="qwen3:8b" if n == 3 else "",
        figures={"temperature_c": 91.0} if n == 1 else {},
    )
