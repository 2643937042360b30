"""The built-in language model: an n-gram over the texts beside it, that obeys every field of a request.

Pure: the texts are read once, and from then on the same request gives the same answer. It must never
do I/O, read a clock, know of HTTP, or report a probability that is not its own.
"""

from __future__ import annotations

import functools
import importlib.resources
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise

from batchgen.api.types import SERVER_MAX_TOKENS, Choice, CompletionRequest, LogProbs, TokenLogProb
from batchgen.simulator import facts, sentences
from batchgen.simulator.draw import Distribution, Draw, utf8
from batchgen.simulator.ledger import digest
from batchgen.simulator.ngram import CONTENT_WORD, END, NGram, shares, tokenize
from batchgen.simulator.sentences import Speech

NAME = "local-ngram"
LONGEST = 8192
"""Tokens in the longest answer, whatever `max_tokens` says."""

DOUBTS = (0.05, 1.0)
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


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is taken from a prompt: where to go on from, the words it is about, and what follows them in it."""

    history: tuple[str, ...]
    words: Mapping[str, float]
    phrases: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an answer is drawn. Expects fields in the server's ranges."""

    draw: Draw
    max_tokens: int = SERVER_MAX_TOKENS
    stops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Generated:
    """An answer by its tokens. `is_cut`: it came to `max_tokens`; whether it would have ended there, nobody looked."""

    content: list[TokenLogProb]
    is_cut: bool

    @property
    def text(self) -> str:
        return "".join(t.token for t in self.content)


class Model:
    """Trigrams, bigrams and unigrams of the corpus, and on top a cache of the prompt's own words.

    The cache (Kuhn and De Mori 1990) gets more weight the more followers a token has: "the" takes a product's name
    more easily than the "instead" of "instead of" does. A prompt that asks for something known, an article, one of
    some labels, is answered by sentences or labels instead.
    """

    def __init__(self, corpus: str, tasks: str = "") -> None:
        """Of documents, parted by lines of `%%`, and of `tasks.txt`. Raises ValueError on a corpus without text."""
        documents = [tokens for text in corpus.strip("\n").split(_SEPARATOR) if (tokens := tokenize(text))]
        counts = Counter(chain.from_iterable(documents))
        if not counts:
            raise ValueError("a model needs a corpus with text in it")
        self.unigrams = Distribution(shares(counts))
        self.ngram = NGram(documents, self.unigrams, DOUBTS)
        self.tasks = sentences.read(tasks, self.unigrams)
        self._common = {token.strip().casefold() for token, _ in counts.most_common(COMMONEST)}

    def speech(self, text: str, *, is_chat: bool = False) -> Speech:
        """An answer to a prompt, to be drawn. A completion goes on from the prompt's end, a chat's answer does not."""
        if labels := facts.labels(text):
            return sentences.label(facts.chances(text, labels), self.unigrams)
        if (task := facts.task(text)) in self.tasks:
            return self.task(task or "", text)
        return self.free(text, is_chat=is_chat)

    def task(self, name: str, text: str) -> Speech:
        """An answer by the sentences of a task, with the prompt's facts in them."""
        stages = self.tasks[name][: facts.sentences(text)]
        return sentences.said(stages, sentences.Values(facts.Facts(text).value))

    def free(self, text: str, *, is_chat: bool = True) -> Speech:
        """An answer by the corpus alone, about the prompt's words."""
        prompt = self.read(text)
        history = self.ngram.start if is_chat else prompt.history
        while True:
            history = (*history[1:], (yield self.after(history, prompt)))

    def after(self, history: tuple[str, ...], prompt: Prompt) -> Distribution:
        """The next token's distribution after the last two, in a free answer to `prompt`."""
        corpus = self.ngram.after(history)
        if phrase := prompt.phrases.get(history[-1]):
            return Distribution.mixed(phrase, PHRASE_WEIGHT, corpus)
        followers = len(self.ngram.followers[self.ngram.known(history[-1]),])
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
        following_shares = {word: shares(following) for word, following in phrases.items()}
        return Prompt(self._history(tokens), dict.fromkeys(words, 1 / max(1, len(words))), following_shares)

    def _is_content(self, token: str) -> bool:
        return CONTENT_WORD.fullmatch(token) is not None and token.strip().casefold() not in self._common

    def _history(self, tokens: list[str]) -> tuple[str, ...]:
        """The prompt's last two tokens where the corpus goes on after them; START where it could as well end.

        So END is never the first token, as no document is empty.
        """
        start = self.ngram.start
        history = (*start, *tokens)[-len(start) :]
        followers = self.ngram.followers.get(history[-1:])
        return start if followers is None or END in followers else history

    def generate(self, request: CompletionRequest) -> Choice:
        """The best of `best_of` candidates (default 1), by their mean log-probability.

        Deterministic: the seed is made of `random_seed`, present or not, and of the prompt. Expects fields in
        the server's ranges. The text ends before the first stop string, at `max_tokens`, or where the model
        ends it; it is the tokens of `log_probs.content` joined. A last token that a stop string cut keeps
        the log-probability of the whole. Log-probabilities (natural, of the token and of the five most
        probable ones) are the model's own, before `temperature` and `top_p` reshape what is drawn.
        """
        sampling = Sampling(
            draw=Draw.of(request.temperature, request.top_p),
            max_tokens=SERVER_MAX_TOKENS if request.max_tokens is None else request.max_tokens,
            stops=stop_strings(request.stop),
        )
        speech = functools.partial(self.speech, request.prompt)
        seeds = range(request.best_of or 1)
        candidates = [generate(speech, sampling, f"{digest(request.prompt)} {request.random_seed} {n}") for n in seeds]
        content = max(candidates, key=_mean_log_probability).content
        return Choice(text="".join(t.token for t in content), log_probs=LogProbs(content=content, refusal=None))


def stop_strings(stop: list[str] | str | None) -> tuple[str, ...]:
    return tuple(s for s in ([stop] if isinstance(stop, str) else stop or []) if s)


def generate(speech: Callable[[], Speech], sampling: Sampling, seed: str) -> Generated:
    """An answer, drawn token by token. The same seed draws the same."""
    rng = random.Random(seed)
    limit = min(sampling.max_tokens, LONGEST)
    content: list[TokenLogProb] = []
    text = ""
    said = speech()
    try:
        distribution = next(said)
        while (drawn := sampling.draw.token(distribution, rng.random())).token != END:
            content.append(drawn)
            text += drawn.token
            if (end := _first_stop(text, len(drawn.token), sampling.stops)) is not None:
                return Generated(_cut(content, end), is_cut=False)
            if len(content) == limit:
                return Generated(content, is_cut=True)
            distribution = said.send(drawn.token)
    except StopIteration:
        pass  # what was to be said is said
    return Generated(content, is_cut=False)


def _mean_log_probability(generated: Generated) -> float:
    """Nats a token; an empty text is the worst there is."""
    content = generated.content
    return sum(t.logprob or 0.0 for t in content) / len(content) if content else -math.inf


def _first_stop(text: str, added: int, stops: tuple[str, ...]) -> int | None:
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
    """The model of the texts shipped with the package, built once in a process."""
    texts = importlib.resources.files(__package__)
    corpus, tasks = (texts.joinpath(name).read_text(encoding="utf-8") for name in ("corpus.txt", "tasks.txt"))
    return Model(corpus, tasks)
