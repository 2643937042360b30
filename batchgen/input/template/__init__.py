"""Jinja, made strict, over the values of a row."""
