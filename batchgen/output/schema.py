"""The Arrow types of the result columns."""

from __future__ import annotations

import pyarrow as pa

from batchgen.output import column_names

TOP = pa.struct([("token", pa.string()), ("logprob", pa.float64()), ("bytes", pa.list_(pa.int32()))])
TOKEN = pa.struct([*TOP, ("top_logprobs", pa.list_(TOP))])
LOG_PROBS = pa.struct([("content", pa.list_(TOKEN)), ("refusal", pa.list_(TOKEN))])
CHOICE = pa.struct([("text", pa.string()), ("log_probs", LOG_PROBS), ("finish_reason", pa.string())])
CHOICES = pa.list_(CHOICE)
_TYPES = {
    "log_probs": LOG_PROBS,
    "prompt_tokens": pa.int64(),
    "completion_tokens": pa.int64(),
    "attempts": pa.int32(),
    "latency_s": pa.float64(),
    "finished_at": pa.timestamp("us", "UTC"),
}
"""All other columns are text."""
RESULTS = pa.schema([(name, _TYPES.get(name, pa.string())) for name in column_names.RESULTS])
MORE_CHOICES = pa.field(column_names.MORE_CHOICES, CHOICES)
