"""Limits what a template makes of one row: a prompt that grows without end is stopped while it grows.

Jinja's sandbox limits `range`, and nothing else. So the rounds of loops and calls are counted, and the characters of
each intermediate text. What would be too large at once is refused before it is made.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

from batchgen.input.template.values import MAX_CHARS, TemplateFault

MAX_MADE = 16 * MAX_CHARS
"""Characters of all texts that a template makes for a row, intermediate ones included."""
MAX_STEPS = 1_000_000
"""Rounds of loops per row: a loop over long lists ends in an error instead of running all night."""
STEPS_A_CALL = 5
MAX_SECONDS = 5.0
"""Seconds of a core, per row."""
LOOKS_EVERY = 256
"""Steps between two looks at the clock."""
SHORT = 256
"""Characters of a text that is made without being counted as a step."""
ITEM_CHARS = 8
"""Characters that take as much memory as an item of a list."""
MAX_WIDTH = 1_000_000
"""Characters to which a text may be padded."""
_WIDTHS = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs", "to_bytes"})


class Growth:
    """What the current row may still use, in steps and in characters."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Starts another row."""
        self._steps, self._chars = MAX_STEPS, MAX_MADE
        self._look_at, self._since = MAX_STEPS - LOOKS_EVERY, 0.0

    def step(self, count: int = 1) -> None:
        """Raises TemplateFault when no step is left, or no time."""
        self._steps -= count
        if self._steps < 0:
            raise TemplateFault(f"the template does not end: more than {MAX_STEPS:,} rounds of loops and calls")
        if self._steps < self._look_at:
            self._look()

    def _look(self) -> None:
        now = time.thread_time()
        self._look_at, self._since = self._steps - LOOKS_EVERY, self._since or now
        if now - self._since > MAX_SECONDS:
            raise TemplateFault(f"the template takes more than {MAX_SECONDS:.0f} s for one row")

    def take(self, size: int) -> None:
        """Counts a text of so many characters, or what takes as much memory. Raises TemplateFault if that is too
        much."""
        self._chars -= size
        if size > MAX_CHARS:
            raise TemplateFault(f"the prompt is longer than {MAX_CHARS:,} characters")
        if size > SHORT:
            self.step()
        if self._chars < 0:
            raise TemplateFault(f"the template makes texts of more than {MAX_MADE:,} characters")

    def take_made(self, made: Any) -> Any:
        """Counts what a call or a filter has made, and returns it."""
        if isinstance(made, str | bytes):
            self.take(len(made))
        elif isinstance(made, list | tuple):
            self.take(ITEM_CHARS * len(made))
        return made

    def counted(self, iterable: Iterable[Any]) -> Iterator[Any]:
        """Yields the items of a loop, and counts each as a step."""
        for item in iterable:
            self.step()
            yield item

    def joined(self, chunks: Iterable[str]) -> str:
        """Returns the chunks as one text. Raises TemplateFault as soon as it is too long."""
        kept, size = [], 0
        for chunk in chunks:
            size += len(chunk)
            if size > MAX_CHARS:
                break
            kept.append(chunk)
        self.take(size)
        return "".join(kept)

    def before_call(self, method: str, owner: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the arguments of a built-in type's method. Raises TemplateFault if it would make something too
        large."""
        if method in _WIDTHS:
            refuse_wide(*args)
        elif method == "join" and args:
            items = list(args[0])
            self.take(sum(len(owner) + len(item) for item in items if isinstance(item, str | bytes)))
            return (items, *args[1:])
        elif method == "replace" and isinstance(owner, str):
            self.before_replacing(owner, *args)
        elif method == "translate" and args and isinstance(args[0], Mapping):
            longest = max((len(value) for value in args[0].values() if isinstance(value, str)), default=1)
            self.take(len(owner) * longest)
        elif method in {"format", "format_map"}:
            self.before_formatting(owner, args)
        elif method in {"extend", "update"}:
            self.take(ITEM_CHARS * sum(len(arg) for arg in args if isinstance(arg, Sized)))
        return args

    def before_formatting(self, pattern: str, args: Iterable[Any]) -> None:
        """Raises TemplateFault if a pattern for `%` or `format` has a width, or makes a text, beyond measure."""
        values = [value for arg in args for value in (arg.values() if isinstance(arg, Mapping) else [arg])]
        widths = sum(int(width) for width in re.findall(r"\d{1,18}", pattern))
        if "*" in pattern or re.search(r":[^}]*\{", pattern):
            refuse_wide(*values)
        longest = max((len(value) if isinstance(value, str) else 400 for value in values), default=0)
        self.take(len(pattern) + widths + longest * (pattern.count("%") + pattern.count("{")))

    def before_replacing(self, text: str, old: Any = "", new: Any = "", *_: Any) -> None:
        if isinstance(old, str) and isinstance(new, str):
            self.take(len(text) + text.count(old) * len(new))


def refuse_wide(*widths: Any) -> None:
    """Raises TemplateFault if any of them is a number beyond measure."""
    if any(isinstance(width, int) and width > MAX_WIDTH for width in widths):
        raise TemplateFault(f"a text would be padded to more than {MAX_WIDTH:,} characters")
