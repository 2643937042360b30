"""The command line: options, streams, and how results are shown."""
