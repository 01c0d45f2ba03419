"""Pulls over HTTP, as Ollama's client makes them: from a registry that a name gives by its port.

Reading order: http (one request, and what Go says when it fails) > requests (tokens, redirects,
refusals) > parts (what of a blob is on disk) > blob (one download) > downloads (each once) >
manifest (what a model is of) > pull (all of it).
"""
