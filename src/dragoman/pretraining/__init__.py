"""Small bases from scratch, so that everything runs with no download."""
