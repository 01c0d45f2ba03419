"""Intake: what routing must know of a request, and nothing more of it.

A small JSON body is read at once (reading.py), a large or odd one piece by piece (scan.py), both
into the same fields (fields.py); a form gives its one field (form.py). Headers say who asks, and
how much it matters (standing.py). All of it ends in a Request.
"""

from ollama_fleet.router.intake.fields import Fields, Wanted
from ollama_fleet.router.intake.form import FormScanner
from ollama_fleet.router.intake.opening import BLOCK_BYTES
from ollama_fleet.router.intake.reading import read_at_once, read_body
from ollama_fleet.router.intake.request import Request, inference
from ollama_fleet.router.intake.scan import PIECE_BYTES, Scanner
from ollama_fleet.router.intake.standing import BadHeader, Priority, Standing, standing

__all__ = [
    "BLOCK_BYTES",
    "PIECE_BYTES",
    "BadHeader",
    "Fields",
    "FormScanner",
    "Priority",
    "Request",
    "Scanner",
    "Standing",
    "Wanted",
    "inference",
    "read_at_once",
    "read_body",
    "standing",
]
