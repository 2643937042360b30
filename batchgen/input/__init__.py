"""The input: files to rows, rows to prompts, prompts to requests."""
