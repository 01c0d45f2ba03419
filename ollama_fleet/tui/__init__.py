"""The dashboard: snapshots in, a screen out. Panels and rates are pure; effects are at the rim."""
