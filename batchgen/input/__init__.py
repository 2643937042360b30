"""What goes in: files of rows, the prompts made of them, the requests made of those."""
