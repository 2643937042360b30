"""The job file: reads it, checks it, and makes one frozen `Job` of it."""
