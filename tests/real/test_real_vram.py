"""What models are said to take of memory, and what a real Ollama takes for them."""

import asyncio
from pathlib import Path

import pytest

from ollama_fleet.bench.sync.ollamas import Program
from ollama_fleet.bench.vram.command import compared
from ollama_fleet.bench.vram.row import TOLERANCE
from ollama_fleet.vram import FlashAttention, Use

pytestmark = pytest.mark.real

KINDS = ["llama", "mixtral", "qwen3", "gemma2", "bert"]  # both engines, experts, a window, no cache
USE = Use(num_parallel=2, flash_attention=FlashAttention.ON, cache_type="q8_0", gpus=0)


def test_predictions_are_what_a_real_ollama_allocates(ollama, tmp_path):
    """Of five kinds of model: some 15 s, nearly all of it loads. `scripts/bench vram` has all."""
    program = Program(Path(ollama).absolute(), real=True, environ={})

    async def rows():
        return [row async for row in compared(program, tmp_path, KINDS, [USE], [4096])]

    found = asyncio.run(rows())
    assert len(found) == len(KINDS)
    for row in found:
        assert abs(row.error) <= TOLERANCE, row.cells
        reported = row.need.reported_bytes or row.measured.reported_bytes
        assert abs(row.measured.reported_bytes / reported - 1) <= TOLERANCE, row.cells
