"""A siege: clients that hold connections open without ever asking, and what others notice of it.

In reading order: forces (who besieges), traffic (who asks meanwhile), command (a whole run).
"""
