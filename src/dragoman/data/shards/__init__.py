"""Audio in tar files: read in place, and packed."""
