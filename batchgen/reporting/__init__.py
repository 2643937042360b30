"""The report: one HTML page, made of the checkpoint and the input alone."""
