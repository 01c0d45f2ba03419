"""How near the arithmetic of a model's memory (vram/) is to what a real Ollama allocates."""
