"""One run, from its plan to its publication, and the reports of it."""
