"""The job file: read, checked, and turned into one frozen `Job`."""
