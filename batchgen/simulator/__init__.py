"""The built-in server: the service's contract on loopback, answered by a small n-gram model.

It stands in for the service in trials and tests, and never passes for it: it names itself `local-ngram`.
"""
