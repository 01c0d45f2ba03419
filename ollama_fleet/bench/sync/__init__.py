"""One download for the whole fleet: does it hold, and what does it cost, on real disks and sockets.

Each case plays on a stage of its own: a stand-in for the registry that counts what it sends, a
fleet as its users start it, stores, and instances elsewhere. Reading order: row, then registry,
programs and fleet (the processes), stage (all of them), the cases, command.
"""
