"""Intake: what routing must know of a request, and nothing more of it.

A small JSON body is read at once (reading.py), a large or odd one piece by piece (scan.py), both
into the same fields (fields.py); a form gives its one field (form.py). All of it ends in a Request.
"""

from ollama_fleet.router.intake.fields import Fields, Wanted
from ollama_fleet.router.intake.form import FormScanner
from ollama_fleet.router.intake.reading import read_at_once, read_body
from ollama_fleet.router.intake.request import Request, inference
from ollama_fleet.router.intake.scan import PIECE_BYTES, Scanner

__all__ = [
    "PIECE_BYTES",
    "Fields",
    "FormScanner",
    "Request",
    "Scanner",
    "Wanted",
    "inference",
    "read_at_once",
    "read_body",
]
