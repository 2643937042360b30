"""Talks to the service: its contract, and one attempt at a request. Knows nothing of jobs, files or retries."""
