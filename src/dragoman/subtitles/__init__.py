"""A result -> files: subtitles to be read on a screen, plain text, JSON. No torch."""
