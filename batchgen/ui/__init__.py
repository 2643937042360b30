"""Presentation: terminal, panels in text and HTML, numbers and durations in words, logs."""
