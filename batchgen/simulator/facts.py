"""Reads what a prompt asks for: its task, the labels to choose from, and the values of its fields. Pure.

It uses patterns of English. A prompt that matches none has no task: the answer continues it as a text.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import math
import re
from collections import Counter

READ, INSTRUCTED = 4096, 2048
"""Characters that are read of a prompt, from its beginning: for values, and for the task."""
MAX_VALUE_CHARS = 400

_TASK = re.compile(
    r"\b(?:write|writing|create|draft|compose|suggest|generate|produce|give|make|need|want)\b[^.\n]{0,80}?\b(?:"
    r"(?P<summary>summary|abstract)|(?P<title>title|headline|slogan|tagline|subject line)"
    r"|(?P<reply>reply|response|answer to|e-?mail)"
    r"|(?P<article>articles?|blog|descriptions?|seo|advert\w*|copy|page|post|text|story|paragraphs?|about))\b"
    r"|\b(?P<summarise>summari[sz]e|sum up)\b",
    re.IGNORECASE,
)
_CHOICE = re.compile(
    r"\b(?:(?:(?:one|single) (?:word|label|category|tag|of)|(?:classif|categori|label|choose|pick)\w*"
    r"|(?:answer|respond|reply) (?:only |just )?with|is this)\b[^.\n]{0,120}?"
    r"(?<![\w'-])(?P<labels>[\w'-]+(?:, ?[\w'-]+)*,? or [\w'-]+|[\w'-]+(?: ?[/|] ?[\w'-]+)+)"
    r"|(?P<yes>yes (?:or|/) no|yes/no))\b",
    re.IGNORECASE,
)
_BETWEEN_LABELS = re.compile(r",? or |, ?| ?[/|] ?")
_FIELDS = {
    "name": r"product(?: name)?|name|item|title|article name|book",
    "category": r"category|department|type|kind",
    "audience": r"audience|readers?|target(?: group)?|for",
    "features": r"features|properties|details|facts|description|specs",
    "price": r"price|cost",
    "customer": r"customer(?: name)?|from|sender",
    "subject": r"subject|re|topic",
}
_FIELD = re.compile(
    r"^[ \t*-]*(?:"
    + "|".join(f"(?P<{field}>{labels})" for field, labels in _FIELDS.items())
    + r")[ \t]*:[ \t]*(?P<value>.*\S)",
    re.IGNORECASE | re.MULTILINE,
)
_ABOUT = re.compile(
    r"\b(?:about|describ(?:e|ing)|called|named|(?:title|headline|slogan|tagline|description) (?:for|of)|summary of)\s+"
    r"(?:the |our |a |an )?(?!product below|following)(.{1,120}?)(?=\s+for\s|\s+in\s|[.,:;!?\n]|$)",
    re.IGNORECASE,
)
_FOR = re.compile(
    r"\b(?:article|description|text|copy|advert|post|story|write)\b[^.\n]*?\bfor ([^.,:;!?\n]+)", re.IGNORECASE
)
_SENTENCES = re.compile(r"\b(?:(a|one|single|1)|(two|2)|(three|3)|(four|4)|(five|5)) sentences?\b", re.IGNORECASE)
_BETWEEN_FEATURES = re.compile(r"[,;](?:\s+(?:and )?|$)")
_WORD = re.compile(r"[^\W\d_]{2,}")
DEFAULTS = {
    "name": "this product",
    "category": "own",
    "audience": "everyone",
    "features": "a sensible design, solid materials, nothing that gets in the way",
    "price": "a fair price",
    "customer": "customer",
    "subject": "your order",
}


def task(prompt: str) -> str | None:
    """Returns the name of the task as in `tasks.txt`; None if it is unknown."""
    found = _TASK.search(prompt, 0, INSTRUCTED)
    return {"summarise": "summary"}.get(found.lastgroup or "", found.lastgroup) if found else None


def labels(prompt: str) -> list[str]:
    """Returns the labels of which the prompt wants one; none if it wants something else."""
    found = _CHOICE.search(prompt, 0, INSTRUCTED)
    if found is None:
        return []
    return ["yes", "no"] if found["yes"] else list(dict.fromkeys(_BETWEEN_LABELS.split(found["labels"])))


def sentences(prompt: str) -> int | None:
    """Returns how many sentences a prompt asks for; None if it does not say."""
    found = _SENTENCES.search(prompt, 0, INSTRUCTED)
    return found.lastindex if found else None


class Facts:
    """Holds the values that a prompt gives for the slots of sentences. Each slot has a default."""

    def __init__(self, prompt: str) -> None:
        read = prompt[:READ]
        self._given: dict[str, str] = {}
        for field in _FIELD.finditer(read):
            self._given.setdefault(next(name for name in _FIELDS if field[name]), field["value"])
        for name, pattern in (("name", _ABOUT), ("audience", _FOR)):
            if name not in self._given and (found := pattern.search(read)):
                self._given[name] = found[1]

    def has(self, name: str) -> bool:
        """Returns whether the prompt gives a value."""
        return bool(self._given.get(name, "").strip(" .,;*"))

    def value(self, slot: str) -> str:
        """Returns the value of a slot; never empty. `feature` and `detail` are the first and the last of `features`."""
        if slot in ("feature", "detail"):
            return self.features()[0 if slot == "feature" else -1]
        if slot == "features":
            *others, last = self.features()
            return f"{', '.join(others)} and {last}" if others else last
        text = self._given.get(slot, DEFAULTS.get(slot, slot)).strip(" .*")[:MAX_VALUE_CHARS] or DEFAULTS[slot]
        return text.lower() if slot == "category" else text

    def features(self) -> list[str]:
        """Returns the features, at least one."""
        given = self._given.get("features", "").strip(" .")[:MAX_VALUE_CHARS]
        return [part for part in _BETWEEN_FEATURES.split(given or DEFAULTS["features"]) if part.strip()] or ["quality"]


@functools.cache
def _label_words() -> dict[str, Counter[str]]:
    """Returns the words of each label, as in `labels.txt`."""
    text = importlib.resources.files(__package__).joinpath("labels.txt").read_text(encoding="utf-8")
    lines = (line.partition(": ") for line in text.splitlines())
    return {label: Counter(words.split()) for label, _, words in lines}


def label_probabilities(prompt: str, options: list[str]) -> dict[str, float]:
    """Returns the probability of each label by the prompt's words; they sum to 1. Known labels: naive Bayes. Others:
    even, with a small bias that differs by prompt."""
    words = set(_WORD.findall(prompt.casefold()[-READ:]))
    scores = {option: _score(words, option) + _bias(prompt, option) for option in options}
    weights = {option: math.exp(score) for option, score in scores.items()}
    return {option: weight / math.fsum(weights.values()) for option, weight in weights.items()}


def _score(words: set[str], option: str) -> float:
    known = _label_words().get(option.casefold(), Counter())
    return 2.0 * sum(word in known for word in words)


def _bias(prompt: str, option: str) -> float:
    """Returns a bias from 0 to 1 that depends only on prompt and label: not all prompts get the same label."""
    digest = hashlib.sha256(f"{prompt}\0{option}".encode(errors="surrogatepass")).digest()
    return digest[0] / 255
