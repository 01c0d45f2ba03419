"""Load on a fleet as its clients make it: seeded workloads, a client that checks every answer."""
