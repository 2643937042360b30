"""The names of the result columns, in their order. Imports nothing that takes long: a plan needs no more of them."""

from __future__ import annotations

from collections.abc import Sequence

from batchgen.errors import UsageError

RESULTS = ("text", "model", "log_probs", "status", "error", "attempts", "latency_s", "finished_at")
MORE_CHOICES = "more_choices"


def refuse_collisions(columns: Sequence[str]) -> None:
    """Raises UsageError where an input column has the name of a result's."""
    results = {name.casefold(): name for name in (*RESULTS, MORE_CHOICES)}
    taken = [name for name in columns if name.casefold() in results]
    if taken:
        renames = ", ".join(f"{name}: source_{name}" for name in taken)
        case = "" if all(name in results for name in taken) else " (SQL engines do not tell their cases apart)"
        raise UsageError(
            f"the input has {'a column' if len(taken) == 1 else 'columns'} named {', '.join(taken)}, as the results "
            f"have{case}: rename in the job file: `input: {{rename: {{{renames}}}}}`"
        )
