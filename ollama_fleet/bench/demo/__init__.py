"""The demo: a fleet of its own in a temporary directory, a mixed load, a report."""
