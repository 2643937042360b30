"""The checkpoint: every outcome, in one SQLite file a job, written in groups and readable at any time."""
