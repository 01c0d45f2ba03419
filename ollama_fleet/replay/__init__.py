"""Replay: the router's own decisions on virtual time, hours of traffic in seconds.

    Job -> Clock -> Replay -> desk, plan, policy, queue, estimates (the fleet's own) -> Server

The servers are simulated (server.py); all that decides is the code that serves real requests.
"""
