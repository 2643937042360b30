"""Generates JSON strings token by token from a text's distributions: escaped, and within bounds of length. Pure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import NamedTuple

import msgspec

from batchgen.simulator.draw import Distribution
from batchgen.simulator.ngram import END, tokenize
from batchgen.simulator.sentences import Generation

QUOTE = '"'
ROOM = 24
"""With room for fewer characters than this, the next token is one of the likeliest that fit."""
TRIED = 50
"""How many of the likeliest tokens are tried."""
FILLER = "x"
_FULL_STOPS = frozenset(".!?")


class Length(NamedTuple):
    """Sets how many characters a string has. `is_brief`: it ends with a sentence."""

    least: int = 0
    most: float = float("inf")
    is_brief: bool = False


def encode(value: object) -> str:
    """Returns a value as JSON."""
    return msgspec.json.encode(value).decode()


@functools.lru_cache(maxsize=16384)
def escaped(token: str) -> str:
    """Returns the token as it is written in a JSON string."""
    return encode(token)[1:-1]


@functools.lru_cache(maxsize=4096)
def certain(token: str) -> Distribution:
    """Returns a distribution with this token only."""
    return Distribution({token: 1.0})


def literal(text: str) -> Generation:
    """Generates a fixed text."""
    for token in tokenize(text):
        yield certain(token)


class _Text:
    """Continues a generation: when it ends, another one begins."""

    def __init__(self, generation: Generation, again: Callable[[], Generation]) -> None:
        self._generation, self._again = generation, again
        self.next = next(generation)

    def send(self, token: str) -> None:
        try:
            self.next = self._generation.send(token)
        except StopIteration:
            self._generation = self._again()
            self.next = next(self._generation)


def string(
    generation: Generation, again: Callable[[], Generation], special: Iterable[str], length: Length
) -> Generator[Distribution, str, str]:
    """Generates the text of `generation` in quotes. `again`: starts another if it ends too early. `special`: tokens of
    the corpus that are escaped. Returns the string as JSON."""
    yield certain(QUOTE)
    text, found = _Text(generation, again), ""
    while True:
        room = length.most - len(found)
        is_roomy = room >= max([ROOM, *map(len, text.next.explicit)])
        distribution = _escaping(text.next, special) if is_roomy else _fitting(text.next, found, length)
        if length.is_brief and found[-1:] in _FULL_STOPS and length.least <= len(found) and found:
            distribution = certain(QUOTE)
        elif len(found) < length.least:
            distribution = _without_end(distribution)
        drawn = yield distribution
        if drawn == QUOTE:
            return encode(found)
        raw: str = msgspec.json.decode(f'"{drawn}"', type=str)
        found += raw
        text.send(raw)


def _escaping(distribution: Distribution, special: Iterable[str]) -> Distribution:
    """Returns the distribution with tokens escaped, and the closing quote as the end."""
    explicit = {END: 0.0, QUOTE: distribution.probability(END)}
    for token in {*special, *(t for t in distribution.explicit if escaped(t) != t)}:
        explicit[token] = 0.0
        explicit[escaped(token)] = distribution.probability(token)
    explicit[QUOTE] = distribution.probability(END)
    return Distribution(explicit, 1.0, distribution)


def _fitting(distribution: Distribution, found: str, length: Length) -> Distribution:
    """Returns the likeliest tokens that fit, and the end; only the end if none fits."""
    room = length.most - len(found)
    fits = {escaped(t): p for p, t in islice(distribution.ranked(), TRIED) if t != END and len(t) <= room and p > 0}
    end = distribution.probability(END) if fits else 1.0
    if room < 1:
        return certain(QUOTE)
    if len(found) < length.least:
        fits, end = fits or {FILLER: 1.0}, 0.0
    total = sum(fits.values()) + end
    return Distribution({QUOTE: end / total, **{t: p / total for t, p in fits.items()}})


def _without_end(distribution: Distribution) -> Distribution:
    """Returns the distribution without the end, rescaled."""
    if not (end := distribution.probability(QUOTE)):
        return distribution
    return Distribution({QUOTE: 0.0}, 1 / (1 - end), distribution) if end < 1 else certain(FILLER)
