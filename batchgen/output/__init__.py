"""The output: files and frames, made of the checkpoint and the input alone, at any time."""
