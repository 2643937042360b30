"""Packed bodies: what they hold, and a checksum that is that of the whole without the whole."""

import pickle
import zlib

from hypothesis import given
from hypothesis import strategies as st

from batchgen.packed import FROM, Packed, crc32, pack, shift, whole

BODIES = st.builds(lambda seed, times: (seed * times)[: 3 * FROM], st.binary(min_size=1), st.integers(1, FROM))


@given(BODIES, st.integers(0, 2**32 - 1))
def test_a_packed_body_is_the_body_and_has_its_checksum(body, before):
    packed = pack(body)
    assert isinstance(packed, Packed) == (len(body) >= FROM)
    assert whole(packed) == body
    assert crc32(packed, before) == crc32(body, before) == zlib.crc32(body, before)
    assert pack(packed) == packed == pickle.loads(pickle.dumps(packed))


SIZES = st.integers(0, 2**38)


@given(SIZES, SIZES, st.integers(0, 2**32 - 1))
def test_checksums_of_any_size_add_up(one, more, before):
    def after(size, before):
        return crc32(Packed(b"", size, 0, shift(size)), before)

    assert after(more, after(one, before)) == after(one + more, before)
