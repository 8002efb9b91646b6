"""What a run tells while it goes on: losses, speed, traces."""
