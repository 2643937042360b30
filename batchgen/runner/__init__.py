"""One run from its plan to its publication, and what is said of it."""
