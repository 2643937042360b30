"""How much a template may make of one row: a prompt that grows without end is ended while it grows.

Jinja's sandbox bounds a `range`, and nothing else. So rounds of loops and calls are counted, and the characters of each
text that is made on the way; what would be too large at once is refused before it is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from batchgen.rows.template.values import TemplateFault

MOST_CHARS = 16 << 20
"""Of a prompt, and of any text or list that a template makes on the way."""
MOST_MADE = 16 * MOST_CHARS
"""Characters of all the texts that a template makes on the way."""
MOST_STEPS = 1_000_000
"""Rounds of loops of a row: a loop over long lists ends in an error, not in a night of nothing."""
STEPS_A_CALL = 5
MOST_WIDTH = 1_000_000
"""Of what a text is filled up to."""
_WIDTHS = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs", "to_bytes"})


class Growth:
    """What is left to the row at hand, in steps and in characters."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins another row."""
        self._steps, self._chars = MOST_STEPS, MOST_MADE

    def step(self, count: int = 1) -> None:
        """Raises TemplateFault when no step is left."""
        self._steps -= count
        if self._steps < 0:
            raise TemplateFault(f"the template does not end: more than {MOST_STEPS:,} rounds of loops and calls")

    def take(self, size: int) -> None:
        """Counts a text or list of so many characters or items. Raises TemplateFault where it is too large."""
        self._chars -= size
        if size > MOST_CHARS:
            raise TemplateFault(f"the prompt is longer than {MOST_CHARS:,} characters")
        if self._chars < 0:
            raise TemplateFault(f"the template makes texts of more than {MOST_MADE:,} characters")

    def counted(self, iterable: Iterable[Any]) -> Iterator[Any]:
        """The items of a loop, each a step."""
        for item in iterable:
            self.step()
            yield item

    def joined(self, chunks: Iterable[str]) -> str:
        """The chunks as one text. Raises TemplateFault as soon as it is too long."""
        kept, size = [], 0
        for chunk in chunks:
            size += len(chunk)
            if size > MOST_CHARS:
                break
            kept.append(chunk)
        self.take(size)
        return "".join(kept)

    def before_call(self, method: str, owner: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a built-in type's method. Raises TemplateFault where it would make something too large."""
        if method in _WIDTHS:
            refuse_wide(*args)
        elif method == "join" and isinstance(owner, str) and args:
            items = list(args[0])
            self.joined(owner + item for item in items if isinstance(item, str))
            return (items, *args[1:])
        elif method == "replace" and isinstance(owner, str):
            self.before_replacing(owner, *args)
        elif method in {"format", "format_map"} and isinstance(owner, str):
            self.before_formatting(owner, args)
        return args

    def before_formatting(self, pattern: str, args: Iterable[Any]) -> None:
        """Raises TemplateFault where a pattern for `%` or `format` has a width, or makes a text, beyond measure."""
        values = [value for arg in args for value in (arg.values() if isinstance(arg, Mapping) else [arg])]
        refuse_wide(*map(int, re.findall(r"\d{6,18}", pattern)))
        if "*" in pattern or re.search(r":[^}]*\{", pattern):
            refuse_wide(*values)
        longest = max((len(value) if isinstance(value, str) else 400 for value in values), default=0)
        self.take(len(pattern) + longest * (pattern.count("%") + pattern.count("{")))

    def before_replacing(self, text: str, old: Any = "", new: Any = "", *_: Any) -> None:
        if isinstance(old, str) and isinstance(new, str):
            self.take(len(text) + text.count(old) * len(new))


def refuse_wide(*widths: Any) -> None:
    """Raises TemplateFault where any of them is a number beyond measure."""
    if any(isinstance(width, int) and width > MOST_WIDTH for width in widths):
        raise TemplateFault(f"a text is to be filled up to more than {MOST_WIDTH:,} characters")
