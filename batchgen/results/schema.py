"""The result columns: their names, and their types as Arrow has them. Imports nothing that takes long."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from batchgen.errors import UsageError

TOP = pa.struct([("token", pa.string()), ("logprob", pa.float64()), ("bytes", pa.list_(pa.int32()))])
TOKEN = pa.struct([*TOP, ("top_logprobs", pa.list_(TOP))])
LOG_PROBS = pa.struct([("content", pa.list_(TOKEN)), ("refusal", pa.list_(TOKEN))])
CHOICES = pa.list_(pa.struct([("text", pa.string()), ("log_probs", LOG_PROBS)]))
RESULTS = pa.schema(
    [
        ("text", pa.string()),
        ("model", pa.string()),
        ("log_probs", LOG_PROBS),
        ("status", pa.string()),
        ("error", pa.string()),
        ("attempts", pa.int32()),
        ("latency_s", pa.float64()),
        ("finished_at", pa.timestamp("us", "UTC")),
    ]
)
MORE_CHOICES = pa.field("more_choices", CHOICES)


def refuse_collisions(columns: Sequence[str]) -> None:
    """Raises UsageError where an input column has the name of a result's."""
    taken = [name for name in columns if name in {*RESULTS.names, MORE_CHOICES.name}]
    if taken:
        renames = ", ".join(f"{name}: source_{name}" for name in taken)
        raise UsageError(
            f"the input has {'a column' if len(taken) == 1 else 'columns'} named {', '.join(taken)}, as the results "
            f"have: rename in the job file: `input: {{rename: {{{renames}}}}}`"
        )
