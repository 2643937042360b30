"""The built-in language model: an n-gram over the text beside it, that obeys every field of a request.

Pure: the corpus is read once, and from then on the same request gives the same choice. It must never
do I/O, read a clock, know of HTTP, or report a probability that is not its own.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, pairwise

from batchgen.api.types import SERVER_MAX_TOKENS, Choice, CompletionRequest, LogProbs, TokenLogProb
from batchgen.simulator.draw import Distribution, Draw, utf8

NAME = "local-ngram"
LONGEST = 8192
"""Tokens in the longest answer, whatever `max_tokens` says."""

START, END, RARE = "<|start|>", "<|end|>", "<|rare|>"
"""Not text: no text is tokenized to one of them. END does stand among the top alternatives."""

BIGRAM_DOUBT, TRIGRAM_DOUBT = 0.05, 1.0
"""What each distinct follower adds to the weight of the next lower order (1: Witten and Bell 1991)."""
SAID_WEIGHT, SAID_HALF = 0.2, 40
"""The cache's weight: its limit, and the number of distinct followers that brings it to half of that."""
FEW = 5
"""With fewer distinct followers the cache has no say: a set phrase stays one."""
PHRASE_WEIGHT = 0.5
"""The cache's weight inside a phrase of the prompt."""
PROMPT_CHARS, PROMPT_WORDS = 4096, 8
"""How much is read of a prompt, from its end, and how many of its words the cache holds."""
COMMONEST = 150
"""So many tokens of the corpus are too common to be what a prompt is about."""

_SEPARATOR = "\n%%\n"
_TOKEN = re.compile(r" ?\w+(?:['\u2019-]\w+)*| ?[^\w\s]|\s")
_CONTENT_WORD = re.compile(r" ?[^\W\d_][\w'\u2019-]{3,23}")


def tokenize(text: str) -> list[str]:
    """Words and signs, each with the space before it: `"".join(tokenize(text)) == text`, for every text."""
    return _TOKEN.findall(text)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is taken from a prompt: where to go on from, the words it is about, and what follows them in it."""

    history: tuple[str, str]
    words: Mapping[str, float]
    phrases: Mapping[str, Mapping[str, float]]


class Model:
    """Trigrams interpolated with bigrams and unigrams, and on top a cache of the prompt's own words.

    P(w|uv) = (c(uvw) + d t P(w|v)) / (c(uv) + d t), t the distinct followers of uv, d the doubt (Witten and
    Bell 1991; Jelinek and Mercer 1980), and so on down to the unigrams of the whole corpus. What the corpus
    lacks is followed as the corpus's rare words are. The cache (Kuhn and De Mori 1990) gets more weight the
    more followers v has: "the" takes a product's name more easily than the "instead" of "instead of" does.
    """

    def __init__(self, corpus: str) -> None:
        """Of documents, parted by lines of `%%`. Raises ValueError on a corpus without text."""
        documents = [tokens for text in corpus.strip("\n").split(_SEPARATOR) if (tokens := tokenize(text))]
        counts = Counter(chain.from_iterable(documents))
        if not counts:
            raise ValueError("a model needs a corpus with text in it")
        self._after: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._after_two: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for tokens in documents:
            self._learn([START, START, *tokens, END])
        for token in [t for t, count in counts.items() if count == 1 and t.strip().isalpha()]:
            self._after[RARE].update(self._after[token])
        self._common = {token.strip().casefold() for token, _ in counts.most_common(COMMONEST)}
        self._unigrams = Distribution(_shares(counts))
        self._bigram = functools.cache(self._make_bigram)
        self._trigram = functools.cache(self._make_trigram)

    def _learn(self, tokens: list[str]) -> None:
        for u, v, w in zip(tokens, tokens[1:], tokens[2:], strict=False):
            self._after[v][w] += 1
            self._after_two[u, v][w] += 1

    def _make_bigram(self, v: str) -> Distribution:
        return _interpolated(self._after[v], BIGRAM_DOUBT, self._unigrams)

    def _make_trigram(self, u: str, v: str) -> Distribution:
        return _interpolated(self._after_two[u, v], TRIGRAM_DOUBT, self._bigram(v))

    def after(self, u: str, v: str, prompt: Prompt) -> Distribution:
        """The next token's distribution after the tokens u and v, in an answer to `prompt`."""
        known = v if v in self._after else RARE
        corpus = self._trigram(u, v) if (u, v) in self._after_two else self._bigram(known)
        if phrase := prompt.phrases.get(v):
            return Distribution.mixed(phrase, PHRASE_WEIGHT, corpus)
        followers = len(self._after[known])
        if followers < FEW or not prompt.words:
            return corpus
        return Distribution.mixed(prompt.words, SAID_WEIGHT * followers / (followers + SAID_HALF), corpus)

    def read(self, text: str) -> Prompt:
        """A prompt's end, in bounded time. Space at the very end is not part of what is gone on from."""
        tokens = tokenize(text[-PROMPT_CHARS:].rstrip())
        said = [f" {token.strip()}" if self._is_content(token) else "" for token in tokens]
        phrases: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for word, following in pairwise(said):
            if word and following:
                phrases[word][following] += 1
        words = [word for word, _ in Counter(filter(None, said)).most_common(PROMPT_WORDS)]
        shares = {word: _shares(following) for word, following in phrases.items()}
        return Prompt(self._history(tokens), dict.fromkeys(words, 1 / max(1, len(words))), shares)

    def _is_content(self, token: str) -> bool:
        return _CONTENT_WORD.fullmatch(token) is not None and token.strip().casefold() not in self._common

    def _history(self, tokens: list[str]) -> tuple[str, str]:
        """The prompt's last two tokens where the corpus goes on after them; START where it could as well end.

        So END is never the first token, as no document is empty.
        """
        u, v = [START, START, *tokens][-2:]
        return (START, START) if v not in self._after or END in self._after[v] else (u, v)

    def generate(self, request: CompletionRequest) -> Choice:
        """The best of `best_of` candidates (default 1), by their mean log-probability.

        Deterministic: the seed is made of `random_seed`, present or not, and of the prompt. Expects fields in
        the server's ranges. The text ends before the first stop string, at `max_tokens`, or where the model
        ends it; it is the tokens of `log_probs.content` joined. A last token that a stop string cut keeps
        the log-probability of the whole. Log-probabilities (natural, of the token and of the five most
        probable ones) are the model's own, before `temperature` and `top_p` reshape what is drawn.
        """
        prompt = self.read(request.prompt)
        digest = hashlib.sha256(request.prompt.encode()).hexdigest()
        seeds = (f"{digest} {request.random_seed} {n}" for n in range(request.best_of or 1))
        candidates = [self._candidate(request, prompt, random.Random(seed)) for seed in seeds]
        content = max(candidates, key=_mean_log_probability)
        return Choice(text="".join(t.token for t in content), log_probs=LogProbs(content=content, refusal=None))

    def _candidate(self, request: CompletionRequest, prompt: Prompt, rng: random.Random) -> list[TokenLogProb]:
        draw = Draw.of(request)
        stops = [s for s in ([request.stop] if isinstance(request.stop, str) else request.stop or []) if s]
        limit = min(SERVER_MAX_TOKENS if request.max_tokens is None else request.max_tokens, LONGEST)
        u, v = prompt.history
        content: list[TokenLogProb] = []
        text = ""
        while len(content) < limit:
            drawn = draw.token(self.after(u, v, prompt), rng.random())
            if drawn.token == END:
                break
            u, v = v, drawn.token
            content.append(drawn)
            text += v
            if (end := _first_stop(text, len(v), stops)) is not None:
                return _cut(content, end)
        return content


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = counts.total()
    return {token: count / total for token, count in counts.items()}


def _interpolated(counts: Counter[str], doubt: float, lower: Distribution) -> Distribution:
    weight = counts.total() / (counts.total() + doubt * len(counts))
    return Distribution.mixed(_shares(counts), weight, lower)


def _mean_log_probability(content: list[TokenLogProb]) -> float:
    """Nats a token; an empty text is the worst there is."""
    return sum(t.logprob or 0.0 for t in content) / len(content) if content else -math.inf


def _first_stop(text: str, added: int, stops: list[str]) -> int | None:
    """Where the first stop string begins that the last `added` characters completed."""
    found = (text.find(stop, max(0, len(text) - added - len(stop) + 1)) for stop in stops)
    return min((at for at in found if at >= 0), default=None)


def _cut(content: list[TokenLogProb], end: int) -> list[TokenLogProb]:
    """The tokens of the first `end` characters; the last may be a part of one."""
    kept: list[TokenLogProb] = []
    for t in content:
        part = t.token[:end]
        if not part:
            break
        kept.append(TokenLogProb(part, t.logprob, utf8(part), t.top_logprobs))
        end -= len(part)
    return kept


@functools.cache
def load() -> Model:
    """The model of the corpus shipped with the package, built once in a process."""
    corpus = importlib.resources.files(__package__).joinpath("corpus.txt")
    return Model(corpus.read_text(encoding="utf-8"))
