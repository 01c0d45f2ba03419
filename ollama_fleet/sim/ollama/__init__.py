"""A program with Ollama's wire format and a performance model: `python -m ollama_fleet.sim.ollama`.

Reading order: profile (what is simulated) > rates, slots, residency, machine (pure model of
time) > engine (the model on the real clock) > store, registry (disk) > remote (pulls over HTTP) >
wire (HTTP/1.1 as Go speaks it) > api (endpoints) > serve (the process). It answers as Ollama 0.20.0
does.
"""
