"""What has been answered, kept safe: one SQLite file a job, written in groups, read at any time."""
