"""Values that hypothesis makes up, of which the tests by `fuzz` make job files, answers and errors."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

SOME = settings(deadline=None, max_examples=75)
FEW = settings(deadline=None, max_examples=60)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["6h", "06:00", "1e999", ".inf", ".nan", "~nobody/x", "s3://a/b", "\x00", "\ud800", "{date}", "../..", "9" * 400, "https://[", "http://127.0.0.1:99999", "0x", "a\nb"]),
)  # fmt: skip
"""Values of YAML or JSON, the telling ones among them."""
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
