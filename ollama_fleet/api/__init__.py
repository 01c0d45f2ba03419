"""The front: Ollama's routes on Ollama's port, and the control API on a Unix socket."""
