"""Ollama Fleet: one `ollama serve` per GPU group behind one model-aware router."""

__version__ = "0.1.0"
