"""Control makes the fleet be what fleet.yaml says: loops that decide, then act."""
