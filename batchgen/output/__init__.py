"""What comes out: files and frames, made of the checkpoint and the input alone, at any time."""
