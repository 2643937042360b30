"""Sending: what may be sent when, to whom, how often, and what its outcome means for the row and for the run."""
