"""Ollama's endpoints: native, OpenAI's and Anthropic's dialects, and the store's management."""
