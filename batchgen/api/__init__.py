"""The wire: the service's contract, and one attempt at it. Nothing here knows of jobs, files or retries."""
