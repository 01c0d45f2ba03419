"""The request record: one flat struct for each request that ended, and the file that keeps them.

History.add -> queue -> thread -> HistoryFile (SQLite)        recent, find -> own connections
"""

from ollama_fleet.history.file import Bounds
from ollama_fleet.history.reader import find, recent
from ollama_fleet.history.record import Ended, Ending, RequestRecord
from ollama_fleet.history.writer import History

__all__ = ["Bounds", "Ended", "Ending", "History", "RequestRecord", "find", "recent"]
