"""One corpus, one file."""
