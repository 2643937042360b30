"""What a job's prompt says: Jinja itself, made strict, over the values of a row."""
