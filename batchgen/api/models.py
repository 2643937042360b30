"""What is known of models without asking: prices, deprecations, tokens by rule of thumb."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deprecation:
    replacement: str
    removed_on: str  # ISO date


DEPRECATED = dict.fromkeys(
    ("palmyra-x-003-instruct", "palmyra-vision", "palmyra-med", "palmyra-fin", "palmyra-creative"),
    Deprecation(replacement="palmyra-x5", removed_on="2026-07-13"),
)


PRICES = {"palmyra-x5": (0.60, 6.00), "palmyra-x4": (2.50, 10.00)}
"""USD per million tokens, (prompt, answer), as documented; a job may override them."""


def estimate_tokens(text: str) -> int:
    """Tokens in a text, by the rule of thumb of four bytes each: the service counts none for us."""
    return -(-(len(text) if text.isascii() else len(text.encode())) // 4)
