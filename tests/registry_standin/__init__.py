"""A stand-in for the registry of Ollama's models: a program of its own that tests pull from.

It speaks what Ollama's client asks for: `/v2/<namespace>/<model>/manifests/<tag>`, and blobs that
are redirected to another host's name, as the true one redirects to its CDN. It serves the models of
a store and models it makes up, of any size; it counts every request and byte; and what goes wrong
is switched on while it runs. Reading order: content (bytes), models, faults, counts, blobs (how a
blob is sent), server (routes), running (what tests hold in their hands).

    python tests/registry_standin [--store DIR] [--model library/x:1b=2000000000]
"""
