"""Where attempts are made. The pump, the limits and the checkpoint stay in one place, whatever the engine."""
