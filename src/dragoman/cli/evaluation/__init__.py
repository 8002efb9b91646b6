"""`dragoman evaluate`, `score`, `compare` and `report`."""
