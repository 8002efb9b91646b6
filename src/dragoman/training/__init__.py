"""One loop, one stage, all stages."""
