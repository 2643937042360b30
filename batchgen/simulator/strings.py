"""A JSON string, drawn token by token from a text's own distributions: escaped, and of a length in bounds. Pure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import NamedTuple

import msgspec

from batchgen.simulator.draw import Distribution
from batchgen.simulator.ngram import END, tokenize
from batchgen.simulator.sentences import Speech

QUOTE = '"'
ROOM = 24
"""With less room than this, what follows is chosen of the likeliest tokens that fit."""
TRIED = 50
"""So many of them are looked at."""
FILLER = "x"
_FULL_STOPS = frozenset(".!?")


class Length(NamedTuple):
    """How many characters a string has; `is_brief`: it ends with a sentence."""

    least: int = 0
    most: float = float("inf")
    is_brief: bool = False


def encode(value: object) -> str:
    """As JSON."""
    return msgspec.json.encode(value).decode()


@functools.lru_cache(maxsize=16384)
def escaped(token: str) -> str:
    """As it stands in a JSON string."""
    return encode(token)[1:-1]


@functools.lru_cache(maxsize=4096)
def certain(token: str) -> Distribution:
    """Nothing else may follow."""
    return Distribution({token: 1.0})


def literal(text: str) -> Speech:
    """What stands fixed."""
    for token in tokenize(text):
        yield certain(token)


class _Text:
    """A speech that does not end: where it does, another one is begun."""

    def __init__(self, speech: Speech, again: Callable[[], Speech]) -> None:
        self._speech, self._again = speech, again
        self.next = next(speech)

    def send(self, token: str) -> None:
        try:
            self.next = self._speech.send(token)
        except StopIteration:
            self._speech = self._again()
            self.next = next(self._speech)


def string(
    speech: Speech, again: Callable[[], Speech], special: Iterable[str], length: Length
) -> Generator[Distribution, str, str]:
    """The text of `speech` in quotes. `again` goes on where it ends too early; `special`: the tokens of the corpus
    that are escaped. Returns the string as JSON."""
    yield certain(QUOTE)
    text, found = _Text(speech, again), ""
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


def _escaping(said: Distribution, special: Iterable[str]) -> Distribution:
    """With each token as it is escaped, and the closing quote as the end."""
    explicit = {END: 0.0, QUOTE: said.probability(END)}
    for token in {*special, *(t for t in said.explicit if escaped(t) != t)}:
        explicit[token] = 0.0
        explicit[escaped(token)] = said.probability(token)
    explicit[QUOTE] = said.probability(END)
    return Distribution(explicit, 1.0, said)


def _fitting(said: Distribution, found: str, length: Length) -> Distribution:
    """The likeliest of the tokens for which there is room, and the end, which is sure where there is none."""
    room = length.most - len(found)
    fits = {escaped(t): p for p, t in islice(said.ranked(), TRIED) if t != END and len(t) <= room and p > 0}
    end = said.probability(END) if fits else 1.0
    if room < 1:
        return certain(QUOTE)
    if len(found) < length.least:
        fits, end = fits or {FILLER: 1.0}, 0.0
    total = sum(fits.values()) + end
    return Distribution({QUOTE: end / total, **{t: p / total for t, p in fits.items()}})


def _without_end(distribution: Distribution) -> Distribution:
    """The others, as likely as they are among themselves."""
    if not (end := distribution.probability(QUOTE)):
        return distribution
    return Distribution({QUOTE: 0.0}, 1 / (1 - end), distribution) if end < 1 else certain(FILLER)
