"""HTTP/1.1 as Go's net/http serves it: what a client of Ollama sees on the socket.

A small server of our own, because importing a full one costs more than this program's whole
start, and because a simulation needs Go's framing: which header stands where, what is chunked.
"""
