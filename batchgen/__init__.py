"""Thousands or millions of prompts through a paid text-generation API, into one complete Parquet file."""

__version__ = "0.1.0"
