"""Sending: limits, retries, servers, and what the outcome of an attempt means for the row and for the run."""
