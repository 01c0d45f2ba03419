"""Routing on real processes: `fleet bench routing`.

cases (what is asked of which fleet) -> study (whose turn it is) -> run (one fleet, one workload,
what became of it) -> rows, curves, agreement (what it comes to) -> pictures, drawing (how it looks)
"""
