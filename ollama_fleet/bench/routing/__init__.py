"""Routing by replay: every strategy on the same workloads, each row against its target.

scenarios (what is asked of which fleet) -> trial (one replay, what is read off it) -> table
"""
