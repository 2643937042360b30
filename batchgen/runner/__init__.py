"""The heart: what is to be done, when it may be done, doing it, and never forgetting that it was done."""
