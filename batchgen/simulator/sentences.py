"""Generates answers that are made of fixed stages, such as articles: a class-based n-gram (Oh and Rudnicky 2000).

The text that it learns from, `tasks.txt`, has slots for what a prompt names: `{name}`, `{price}`. Each task is a list
of stages, one for each sentence. A stage's n-gram learns from its own sentences only. Pure.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TypeAlias

from batchgen.simulator.draw import Distribution
from batchgen.simulator.ngram import END, RARE, NGram, tokenize

Generation: TypeAlias = Generator[Distribution, str, None]
"""An answer that is being drawn. It yields the distribution of each next token, is sent the token that was drawn, and
returns when nothing can follow."""

BACKOFF_WEIGHTS = (0.02, 0.05, 0.05, 0.05)
"""Of stages: more orders and smaller weights than for free text, so that sentences come out whole."""
FIRM = 0.99
"""The probability that a slot's value, or a label, goes on to its end once it has begun."""
MAX_HISTORIES = 16384
"""Histories whose distributions a stage remembers, whatever prompts hold."""
SEPARATORS = {"-": " ", "--": "\n\n"}
"""What precedes a stage, by its mark in the text."""
_SLOT = re.compile(r"( ?\{\w+\})")


class Stage:
    """Models one sentence of an answer, in its different wordings."""

    def __init__(self, sentences: Sequence[Sequence[str]], lower: Distribution) -> None:
        self.ngram = NGram(sentences, lower, BACKOFF_WEIGHTS)
        slots: defaultdict[str, set[str]] = defaultdict(set)
        for history, followers in self.ngram.followers.items():
            slots[history[-1]] |= {w for w in followers if _SLOT.fullmatch(w)}
        self._slots, self._rare_slots = dict(slots), slots[RARE]
        self.after = functools.lru_cache(MAX_HISTORIES)(self._after)
        inner = {token for sentence in sentences for token in sentence[:-1]}
        self.ends = {sentence[-1] for sentence in sentences} - inner

    def _after(self, history: tuple[str, ...]) -> tuple[Distribution, Distribution, set[str]]:
        """Returns the distribution of the next token as it is written, with slots; without them; and the slots."""
        written, slots = self.ngram.after(history), self._slots.get(history[-1], self._rare_slots)
        words = Distribution(dict.fromkeys(slots, 0.0), 1.0, written) if slots else written
        return written, words, slots


def _with_values(
    written: Distribution, words: Distribution, slots: set[str], values: Mapping[str, list[str]]
) -> Distribution:
    """Returns the distribution in which a slot's probability goes to the first token of its value."""
    explicit: dict[str, float] = {}
    for slot in slots:
        first = values[slot][0]
        explicit[first] = explicit.get(first, written.probability(first)) + written.probability(slot)
    return Distribution(explicit, 1.0, words)


def _begun(written: Distribution, slots: set[str], token: str, values: Mapping[str, list[str]]) -> str | None:
    """Returns the slot that `token` begins; None if it is an ordinary word."""
    begun = [slot for slot in slots if values[slot][0] == token]
    if not begun:
        return None
    likeliest = max([token, *begun], key=lambda t: (written.probability(t), t))
    return None if likeliest == token else likeliest


class Values(dict[str, list[str]]):
    """Holds the tokens of a prompt's values by slot, with the space that the sentence has before it."""

    def __init__(self, value: Callable[[str], str]) -> None:
        super().__init__()
        self._value = value

    def __missing__(self, slot: str) -> list[str]:
        space = " " if slot.startswith(" ") else ""
        self[slot] = tokenize(space + self._value(slot.strip(" {}")))
        return self[slot]


def generate(stages: Sequence[Stage], values: Values) -> Generation:
    """Generates the stages one after another. The model ends the last one."""
    for stage in stages[:-1]:
        yield from _sentence(stage, values, stage.ends)
    yield from _sentence(stages[-1], values, {END})


def _sentence(stage: Stage, values: Values, ends: set[str]) -> Generation:
    history = stage.ngram.start
    while history[-1] not in ends:
        written, words, slots = stage.after(history)
        if not slots:
            history = (*history[1:], (yield written))
            continue
        token = yield _with_values(written, words, slots, values)
        slot = _begun(written, slots, token, values)
        departed = (yield from phrase(values[slot][1:], stage.ngram.lower)) if slot else None
        history = (*history[1:], departed or slot or token)


def phrase(tokens: Sequence[str], lower: Distribution) -> Generator[Distribution, str, str | None]:
    """Generates these tokens, almost surely. Returns the token that was drawn in place of one of them, if any."""
    for token in tokens:
        drawn = yield _firmly(token, lower)
        if drawn != token:
            return drawn
    return None


@functools.lru_cache(maxsize=4096)
def _firmly(token: str, lower: Distribution) -> Distribution:
    """Caches the distributions that are nearly certain of a token: a product's words come back."""
    return Distribution.mixed({token: 1.0}, FIRM, lower)


def label(label_probabilities: Mapping[str, float], lower: Distribution) -> Generation:
    """Generates one of these labels and nothing else. Of labels that begin alike, the likeliest goes on."""
    firsts: defaultdict[str, float] = defaultdict(float)
    tokens = {text: tokenize(text) for text in sorted(label_probabilities, key=lambda text: label_probabilities[text])}
    for text, [first, *_] in tokens.items():
        firsts[first] += label_probabilities[text]
    drawn = yield Distribution.mixed(firsts, FIRM, lower)
    rest = {first: rest for first, *rest in tokens.values()}.get(drawn, [])
    if (yield from phrase(rest, lower)) is None:
        yield _firmly(END, lower)


def read(text: str, lower: Distribution) -> dict[str, list[Stage]]:
    """Reads the stages of each task from `tasks.txt`: `= TASK`, then stages after their marks, a sentence a line."""
    tasks: dict[str, list[list[list[str]]]] = {}
    stages: list[list[list[str]]] = []
    separator = ""
    for line in text.splitlines():
        if line.startswith("= "):
            stages = tasks.setdefault(line[2:], [])
        elif line in SEPARATORS:
            separator = SEPARATORS[line] if stages else ""
            stages.append([])
        else:
            stages[-1].append(_tokens(separator + line))
    return {task: [Stage(sentences, lower) for sentences in found] for task, found in tasks.items()}


def _tokens(line: str) -> list[str]:
    parts = _SLOT.split(line)
    return [token for part in parts for token in ([part] if _SLOT.fullmatch(part) else tokenize(part))]
