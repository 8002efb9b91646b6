"""The model behind the roads: one queue for all clients, recordings decoded in child processes, jobs."""
