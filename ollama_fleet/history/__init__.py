"""The request record: one flat struct for each request that ended, and the file that keeps them.

History.add -> queue -> thread -> HistoryApart -> process -> HistoryFile (SQLite); recent, select,
find, usage -> own connections. What a record means: verdict.py, by where its seconds went
(spent.py) and how fast others were (paces.py); energy.py is what its energy is reckoned from.
"""

from ollama_fleet.history.apart import HistoryApart
from ollama_fleet.history.energy import Energy
from ollama_fleet.history.file import Bounds
from ollama_fleet.history.reader import find, neighbours, recent, select, usage
from ollama_fleet.history.record import Drawn, Ended, Ending, RequestRecord, unmeasured
from ollama_fleet.history.selection import Selection
from ollama_fleet.history.totals import By, Usage
from ollama_fleet.history.verdict import Cause, Explanation, explain
from ollama_fleet.history.writer import History

__all__ = [
    "Bounds",
    "By",
    "Cause",
    "Drawn",
    "Ended",
    "Ending",
    "Energy",
    "Explanation",
    "History",
    "HistoryApart",
    "RequestRecord",
    "Selection",
    "Usage",
    "explain",
    "find",
    "neighbours",
    "recent",
    "select",
    "unmeasured",
    "usage",
]
