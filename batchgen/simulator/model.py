"""Generates answers by the built-in language model: an n-gram over the texts beside it. It obeys every field of a
request.

Pure: it reads the texts once, and the same request always gets the same answer. It must never do I/O, read a clock,
know of HTTP, or report a probability that is not its own.
"""

from __future__ import annotations

import functools
import importlib.resources
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise

from batchgen.api.types import SERVER_MAX_TOKENS, Choice, CompletionRequest, LogProbs, TokenLogProb
from batchgen.simulator import facts, sentences
from batchgen.simulator.draw import Distribution, Draw, utf8
from batchgen.simulator.ledger import digest
from batchgen.simulator.ngram import CONTENT_WORD, END, NGram, shares, tokenize
from batchgen.simulator.sentences import Generation

LONGEST = 8192
"""Tokens of the longest answer, whatever `max_tokens` says."""

BACKOFF_WEIGHTS = (0.05, 1.0)
"""What each distinct follower adds to the weight of the next lower order (1: Witten and Bell 1991)."""
CACHE_WEIGHT, CACHE_HALF = 0.2, 40
"""The cache's weight: its limit, and the number of distinct followers at which it has half of that."""
FEW = 5
"""With fewer distinct followers the cache has no weight: fixed phrases stay whole."""
PHRASE_WEIGHT = 0.5
"""The cache's weight within a phrase of the prompt."""
PROMPT_CHARS, PROMPT_WORDS = 4096, 8
"""Characters that are read of a prompt, from its end, and the most words that the cache holds."""
COMMON_TOKENS = 150
"""Of the corpus, so many tokens are too common to be a prompt's subject."""

_SEPARATOR = "\n%%\n"


@dataclass(frozen=True, slots=True)
class Prompt:
    """Holds what is read of a prompt: its last tokens, the words that it is about, and what follows them in it."""

    history: tuple[str, ...]
    words: Mapping[str, float]
    phrases: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Says how an answer is drawn. Expects fields in the server's ranges."""

    draw: Draw
    max_tokens: int = SERVER_MAX_TOKENS
    stops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Generated:
    """Holds an answer's tokens. `is_cut`: it reached `max_tokens`, and perhaps would have ended there anyway."""

    content: list[TokenLogProb]
    is_cut: bool

    @property
    def text(self) -> str:
        return "".join(t.token for t in self.content)


class Model:
    """Models text by trigrams, bigrams and unigrams of the corpus, with a cache of the prompt's own words on top.

    The cache (Kuhn and De Mori 1990) has more weight the more followers a token has: a product's name follows "the"
    more readily than the "instead" of "instead of". A prompt for a known task, such as an article or a label, is
    answered by sentences or labels instead.
    """

    def __init__(self, corpus: str, tasks: str = "") -> None:
        """Learns from documents, separated by lines of `%%`, and from `tasks.txt`. Raises ValueError if the corpus has
        no text."""
        documents = [tokens for text in corpus.strip("\n").split(_SEPARATOR) if (tokens := tokenize(text))]
        counts = Counter(chain.from_iterable(documents))
        if not counts:
            raise ValueError("a model needs a corpus with text in it")
        self.unigrams = Distribution(shares(counts))
        self.ngram = NGram(documents, self.unigrams, BACKOFF_WEIGHTS)
        self.tasks = sentences.read(tasks, self.unigrams)
        self._common = {token.strip().casefold() for token, _ in counts.most_common(COMMON_TOKENS)}

    def generation(self, text: str, *, is_chat: bool = False) -> Generation:
        """Starts an answer to a prompt. A completion continues the prompt's text, a chat's answer does not."""
        if labels := facts.labels(text):
            return sentences.label(facts.label_probabilities(text, labels), self.unigrams)
        if (task := facts.task(text)) in self.tasks:
            return self.task(task or "", text)
        return self.free(text, is_chat=is_chat)

    def task(self, name: str, text: str) -> Generation:
        """Starts an answer made of a task's sentences, with the prompt's facts in them."""
        stages = self.tasks[name][: facts.sentences(text)]
        return sentences.generate(stages, sentences.Values(facts.Facts(text).value))

    def free(self, text: str, *, is_chat: bool = True) -> Generation:
        """Starts an answer from the corpus only, about the prompt's words."""
        prompt = self.read(text)
        history = self.ngram.start if is_chat else prompt.history
        while True:
            history = (*history[1:], (yield self.after(history, prompt)))

    def after(self, history: tuple[str, ...], prompt: Prompt) -> Distribution:
        """Returns the distribution of the next token after the last two, in a free answer to `prompt`."""
        corpus = self.ngram.after(history)
        if phrase := prompt.phrases.get(history[-1]):
            return Distribution.mixed(phrase, PHRASE_WEIGHT, corpus)
        followers = len(self.ngram.followers[self.ngram.known(history[-1]),])
        if followers < FEW or not prompt.words:
            return corpus
        return Distribution.mixed(prompt.words, CACHE_WEIGHT * followers / (followers + CACHE_HALF), corpus)

    def read(self, text: str) -> Prompt:
        """Reads a prompt's end, in bounded time. Space at the very end is not part of what is continued."""
        tokens = tokenize(text[-PROMPT_CHARS:].rstrip())
        content_words = [f" {token.strip()}" if self._is_content(token) else "" for token in tokens]
        phrases: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for word, following in pairwise(content_words):
            if word and following:
                phrases[word][following] += 1
        words = [word for word, _ in Counter(filter(None, content_words)).most_common(PROMPT_WORDS)]
        following_shares = {word: shares(following) for word, following in phrases.items()}
        return Prompt(self._history(tokens), dict.fromkeys(words, 1 / max(1, len(words))), following_shares)

    def _is_content(self, token: str) -> bool:
        return CONTENT_WORD.fullmatch(token) is not None and token.strip().casefold() not in self._common

    def _history(self, tokens: list[str]) -> tuple[str, ...]:
        """Returns the prompt's last two tokens if the corpus continues them; START if it might end there.

        So END is never the first token, as no document is empty.
        """
        start = self.ngram.start
        history = (*start, *tokens)[-len(start) :]
        followers = self.ngram.followers.get(history[-1:])
        return start if followers is None or END in followers else history

    def generate(self, request: CompletionRequest) -> Choice:
        """Returns the best of `best_of` candidates (default 1), by mean log-probability.

        Deterministic: the seed is made of `random_seed`, if any, and of the prompt. Expects fields in the server's
        ranges. The text ends before the first stop string, at `max_tokens`, or where the model ends it; it is the
        tokens of `log_probs.content` joined. A last token that a stop string cut keeps its full log-probability.
        Log-probabilities (natural, of the token and of the five most probable ones) are the model's own, before
        `temperature` and `top_p` reshape what is drawn.
        """
        sampling = Sampling(
            draw=Draw.for_request(request.temperature, request.top_p),
            max_tokens=SERVER_MAX_TOKENS if request.max_tokens is None else request.max_tokens,
            stops=stop_strings(request.stop),
        )
        generation = functools.partial(self.generation, request.prompt)
        seeds = range(request.best_of or 1)
        candidates = [
            generate(generation, sampling, f"{digest(request.prompt)} {request.random_seed} {n}") for n in seeds
        ]
        best = max(candidates, key=_mean_log_probability) if len(candidates) > 1 else candidates[0]
        return Choice(text=best.text, log_probs=LogProbs(content=best.content, refusal=None))


def stop_strings(stop: list[str] | str | None) -> tuple[str, ...]:
    return tuple(s for s in ([stop] if isinstance(stop, str) else stop or []) if s)


def generate(generation: Callable[[], Generation], sampling: Sampling, seed: str) -> Generated:
    """Draws an answer token by token. The same seed draws the same answer."""
    rng = random.Random(seed)
    limit = min(sampling.max_tokens, LONGEST)
    content: list[TokenLogProb] = []
    text = ""
    running = generation()
    stop, longest = re.compile("|".join(map(re.escape, sampling.stops))), max(map(len, sampling.stops), default=0)
    try:
        distribution = next(running)
        while (drawn := sampling.draw.token(distribution, rng.random())).token != END:
            content.append(drawn)
            text += drawn.token
            if longest and (found := stop.search(text, len(text) - len(drawn.token) - longest + 1)):
                return Generated(_cut(content, found.start()), is_cut=False)
            if len(content) == limit:
                return Generated(content, is_cut=True)
            distribution = running.send(drawn.token)
    except StopIteration:
        pass  # the answer has ended
    return Generated(content, is_cut=False)


def _mean_log_probability(generated: Generated) -> float:
    """Returns the mean in nats; for an empty text the lowest number there is."""
    content = generated.content
    return sum(t.logprob or 0.0 for t in content) / len(content) if content else -math.inf


def _cut(content: list[TokenLogProb], end: int) -> list[TokenLogProb]:
    """Returns the tokens of the first `end` characters; the last one may be cut."""
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
    """Returns the model of the texts that are shipped with the package. It is built once in a process."""
    texts = importlib.resources.files(__package__)
    corpus, tasks = (texts.joinpath(name).read_text(encoding="utf-8") for name in ("corpus.txt", "tasks.txt"))
    return Model(corpus, tasks)
