"""Serves the service's contract on loopback, with answers of a small n-gram model: the built-in server.

It replaces the service in trials and tests, and never pretends to be it: its model is called `local-ngram`.
"""

MODEL = "local-ngram"
