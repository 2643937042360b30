"""Packed bodies: what they hold."""

import pickle

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from batchgen.api.body import MIN_COMPRESSED_BYTES, CompressedBody, compress, decompress, from_columns, to_columns

BODIES = st.builds(
    lambda seed, times: (seed * times)[: 3 * MIN_COMPRESSED_BYTES],
    st.binary(min_size=1),
    st.integers(1, MIN_COMPRESSED_BYTES),
)


@given(BODIES)
def test_a_packed_body_is_the_body(body):
    packed = compress(body)
    assert isinstance(packed, CompressedBody) == (len(body) >= MIN_COMPRESSED_BYTES)
    assert decompress(packed) == body
    assert from_columns(*to_columns(packed)) == body
    assert compress(packed) == packed == pickle.loads(pickle.dumps(packed))


@given(BODIES)
def test_what_an_earlier_version_packed_is_read(body):
    assert decompress(CompressedBody(pa.compress(body, codec="zstd", asbytes=True), len(body))) == body
