"""What `support/fuzz.py` demands of any job file whatever, asked of a few hundred that are made up by grammar. Hours of
it are the fuzzer's."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from support import fuzz
from support.made_up import SOME, values

KEYS = sorted(
    {line.strip().split(":")[0] for line in fuzz.LINES}
    | {"after", "requests", "tokens", "total", "attempts", "max_wait", "requests_per_minute", "ca_file", "types"}
)
PLAIN = [".inf", "-.inf", ".nan", "1e308", "1e400", "5e-324", "0x10", "0o7", "~", "true", "06:00", "- a", "|", ">-", "!!str a", "*a", "{", "[", "'", "%", "@", "---"]  # fmt: skip
"""Words that YAML does not take for texts."""


@st.composite
def job_files(draw) -> bytes:
    """A good job file with a few lines spoilt: another value, another key, something below it, or nothing."""
    lines = list(fuzz.LINES)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        indent = len(lines[at]) - len(lines[at].lstrip())
        key = draw(st.sampled_from([lines[at].strip().split(":")[0], *KEYS]))
        value = draw(st.just(json.dumps(draw(values), ensure_ascii=draw(st.booleans()))) | st.sampled_from(PLAIN))
        lines[at] = draw(st.sampled_from([f"{' ' * indent}{key}: {value}", f"{' ' * indent}{key}: &a [*a]", ""]))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@given(job_files())
@SOME
def test_a_spoilt_job_file(data):
    fuzz.check_job(data)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@SOME
def test_any_bytes_for_a_job_file(data):
    fuzz.job_file(data)


def test_the_fuzzers_example_is_a_job():
    fuzz.check_job("\n".join(fuzz.LINES).encode())
