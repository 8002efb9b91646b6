"""COMET: the network, the checkpoints of its package, the metric."""
