"""The command line: options, streams, what is shown as it is watched."""
