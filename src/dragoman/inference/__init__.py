"""From recordings to translations."""
