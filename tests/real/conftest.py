"""What the tests of real processes share; it stands in real_ollama.py, for others use it too."""

from real_ollama import box, ollama

__all__ = ["box", "ollama"]
