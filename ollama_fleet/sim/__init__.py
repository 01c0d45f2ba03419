"""Simulation: a stand-in Ollama for tests and experiments, and the GPUs it pretends to use."""
