"""The names of the result columns, in order. Imports nothing slow: a plan needs only the names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import yaml

from batchgen.errors import UsageError
from batchgen.job.answer_columns import AnswerColumn

ANSWER_DETAILS = ("finish_reason", "prompt_tokens", "completion_tokens", "reasoning")
"""Details of an answer that not every service returns. Results of version 0.1.0 have none of these columns."""
RESULTS = ("text", "model", "log_probs", *ANSWER_DETAILS, "status", "error", "attempts", "latency_s", "finished_at")
MORE_CHOICES = "more_choices"
_ALL = {*RESULTS, MORE_CHOICES}
"""In lower case, as every name of a result is."""


def result_columns(columns: Iterable[str]) -> list[str]:
    """Returns the result columns of an input with these columns. Its own keep their names: a job that ran before there
    were such details of an answer goes on as it was."""
    taken = {name.casefold() for name in columns}
    return [name for name in RESULTS if name not in ANSWER_DETAILS or name not in taken]


def left_out(columns: Iterable[str]) -> list[str]:
    """Returns the input columns that have the name of a detail of an answer, which the results therefore lack."""
    return [name for name in columns if name.casefold() in ANSWER_DETAILS]


def collisions(columns: Iterable[str]) -> list[str]:
    """Returns the input columns that have the name of a result's, in whatever case; those of a detail may."""
    return [name for name in columns if name.casefold() in _ALL.difference(ANSWER_DETAILS)]


def advised_rename(taken: Iterable[str], rename: Mapping[str, str]) -> str:
    """Returns the setting that gives these input columns other names. `rename`: what `input.rename` says now."""
    originals = {new: old for old, new in rename.items()}
    advised = {**rename, **{originals.get(name, name): _free(f"source_{name}", rename) for name in taken}}
    written = yaml.safe_dump(
        {"rename": advised}, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**9
    )
    return f"`input: {written.strip()}`"


def _free(name: str, rename: Mapping[str, str]) -> str:
    """Returns the name, with as many `_` before it as make it one that `rename` does not give."""
    return name if name not in rename.values() else _free(f"_{name}", rename)


def refuse_collisions(columns: Sequence[str], rename: Mapping[str, str], made: Sequence[AnswerColumn] = ()) -> None:
    """Raises UsageError if an input column has the name of a result's, or one that is made of the answers' JSON has
    another's. `rename`: what `input.rename` says."""
    if taken := collisions(columns):
        case = "" if _ALL.issuperset(taken) else " (SQL engines do not tell their cases apart)"
        raise UsageError(
            f"the input has {'a column' if len(taken) == 1 else 'columns'} named {', '.join(taken)}, as the results "
            f"have{case}: to keep what the input has, set {advised_rename(taken, rename)}"
        )
    taken = [one.name for one in made if one.name.casefold() in {*_ALL, *(name.casefold() for name in columns)}]
    if taken:
        names = (f"{one.property}: {'answer_' if one.name in taken else ''}{one.name}" for one in made)
        raise UsageError(
            f"output.columns: the input or the results have {'a column' if len(taken) == 1 else 'columns'} named "
            f"{', '.join(taken)} already: write `output: {{columns: {{{', '.join(names)}}}}}`"
        )
