"""Changes of a running fleet: `scripts/soak changes`, the rows F13, F14, F16 and upgrades."""
