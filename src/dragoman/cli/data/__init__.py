"""`dragoman prepare`, `check` and `shard`."""
