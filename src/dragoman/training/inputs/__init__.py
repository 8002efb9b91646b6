"""Which rows a training reads, and in what order."""
