"""Splits text into tokens, and learns which token follows which. Pure."""

from __future__ import annotations

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from batchgen.simulator.draw import Distribution

START, END, RARE = "<|start|>", "<|end|>", "<|rare|>"
"""Special tokens: no text contains them. END may be among the top alternatives."""
_TOKEN = re.compile(r" ?\w+(?:['\u2019-]\w+)*| ?[^\w\s]|\s")
CONTENT_WORD = re.compile(r" ?[^\W\d_][\w'\u2019-]{3,23}")


def tokenize(text: str) -> list[str]:
    """Returns words and signs, each with the space before it: `"".join(tokenize(text)) == text` for every text."""
    return _TOKEN.findall(text)


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Returns each token's share of all counts; they sum to 1."""
    total = sum(counts.values())
    return {token: count / total for token, count in counts.items()}


class NGram:
    """Models what follows up to so many tokens in documents. Each order is interpolated with the next lower one.

    P(w|h) = (c(hw) + d t P(w|h')) / (c(h) + d t), t the distinct followers of h, h' all of h but its first token, d
    the weight of the order (Witten and Bell 1991; Jelinek and Mercer 1980), down to `lower`. Tokens that the
    documents lack are treated like their rare words.
    """

    def __init__(
        self, documents: Iterable[Sequence[str]], lower: Distribution, backoff_weights: Sequence[float]
    ) -> None:
        """Learns from documents. `backoff_weights`: what each distinct follower adds to the weight of the next lower
        order, by length of the history."""
        self.lower, self._backoff_weights = lower, backoff_weights
        self.order = len(backoff_weights)
        self.start = (START,) * self.order
        self.followers: defaultdict[tuple[str, ...], dict[str, int]] = defaultdict(dict)  # a Counter takes long to make
        counts: Counter[str] = Counter()
        for tokens in documents:
            counts.update(tokens)
            self._learn([*self.start, *tokens, END])
        for token in [t for t, count in counts.items() if count == 1 and t.strip().isalpha()]:
            rare = self.followers[RARE,]
            for follower, count in self.followers[token,].items():
                rare[follower] = rare.get(follower, 0) + count
        self._distribution = functools.cache(self._make)

    def _learn(self, tokens: list[str]) -> None:
        for at in range(self.order, len(tokens)):
            token = tokens[at]
            for start in range(at - self.order, at):
                counts = self.followers[tuple(tokens[start:at])]
                counts[token] = counts.get(token, 0) + 1

    def _make(self, history: tuple[str, ...]) -> Distribution:
        followers = self.followers[history]
        total, weight = sum(followers.values()), self._backoff_weights[len(history) - 1] * len(followers)
        lower = self._distribution(history[1:]) if history[1:] else self.lower
        return Distribution.mixed(shares(followers), total / (total + weight), lower)

    def known(self, token: str) -> str:
        """Returns the token; RARE for one that nothing follows in the documents."""
        return token if (token,) in self.followers else RARE

    def after(self, history: tuple[str, ...]) -> Distribution:
        """Returns the distribution of the next token after an answer's last tokens, as many as there are orders."""
        while history not in self.followers:
            if len(history) == 1:
                return self._distribution((RARE,))
            history = history[1:]
        return self._distribution(history)
