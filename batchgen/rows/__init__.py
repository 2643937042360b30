"""What goes in: rows of files, the prompts made of them, the requests made of those, their identity."""
