"""A stand-in for the registry of Ollama's models: a program of its own that tests pull from.

It speaks what Ollama's client asks for: `/v2/<namespace>/<model>/manifests/<tag>`, and blobs that
are redirected to another host's name, as the true one redirects to its CDN. It serves the models of
a store and models it makes up, of any size; it counts every request and byte; and what goes wrong
is switched on while it runs. Reading order: content (bytes), models, faults, counts, blobs (how a
blob is sent), uploads (what is pushed), server (routes), running (what tests hold in their hands).

    python tests/registry_standin [--store DIR] [--model library/x:1b=2000000000]

prints {"port": N} and serves until it gets a signal. Its models are pulled by names such as
`127.0.0.1:N/library/x:1b`, with `insecure`. What `running.RegistryProcess` says over HTTP, any
program can:

    GET  /standin/counts     {"GET /bytes/sha256:…": {"requests": 1, "bytes": 2000000000}, …}
    PUT  /standin/faults     [{"kind": "reset", "path": "/bytes/", "after_bytes": 1000, "times": 1}]
    PUT  /standin/settings   {"bytes_per_s": 5000000, "redirect": "elsewhere", "auth": false}
    POST /standin/models     {"name": "library/x:1b", "size_bytes": 2000000000, "seed": 1}
                             and `runs`, if an Ollama is to be able to run it
    PUT  /standin/manifests/library/x:1b     any bytes
"""
