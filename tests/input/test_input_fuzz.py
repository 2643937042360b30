"""What `support/fuzz.py` demands of any CSV file and template whatever, asked of a few hundred that are made up by
grammar. Hours of it are the fuzzer's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support import fuzz
from support.made_up import FEW, SOME

cells = st.sampled_from([b"a", b",", b"\n", b"\r\n", b"\r", b'"', b'""', b" ", b"\xff", b"\x00", "ü".encode(), b"\xef\xbb\xbf", b"1", b"=", b"\t", b"\x85", b"\x0c"])  # fmt: skip


@given(st.lists(cells, max_size=24).map(b"".join))
@SOME
def test_csv_files_of_any_kind(data):
    fuzz.table(data)


words = st.sampled_from(["{{", "}}", "{%", "%}", "{#", "#}", " name ", " price ", " tags ", " for t in tags ", " endfor ", " if ", " endif ", " not ", "|upper", "|default('x')", "|join(',')", "|length", "[0]", ".x", "~", "*", "99999999", "'a'", "\n", "-", "range(9)", "loop", "self", "x", "|format", "|replace('a','b')", "macro f(a)", "endmacro", "set x = 1", "raw", "endraw"])  # fmt: skip


@given(st.lists(words, max_size=14).map("".join))
@FEW
def test_templates_of_any_kind(text):
    fuzz.template(text.encode())
