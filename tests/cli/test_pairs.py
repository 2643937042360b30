"""A prompt beside its answer: on a wide terminal side by side, elsewhere below each other, and never active."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.ui.pairs import MAX_LINES, TextPair, fold, render_pair
from batchgen.ui.terminal import Screen, display_width


def pair(left: str, right: str) -> TextPair:
    return TextPair("row 1: ok", "prompt", left, "answer", right)


def test_side_by_side_where_there_is_room():
    shown = render_pair(pair("one two\nthree", "answer of\nthree\nlines"), Screen(80)).splitlines()
    assert shown[1] == "row 1: ok"
    halves = [tuple(half.strip() for half in line.split("│")) for line in shown[2:]]
    assert halves == [("prompt", "answer"), ("one two", "answer of"), ("three", "three"), ("", "lines")]
    assert {line.index("│") for line in shown[2:]} == {shown[2].index("│")}


@pytest.mark.parametrize("screen", [Screen(), Screen(60)], ids=["no terminal", "a narrow one"])
def test_below_each_other_elsewhere(screen):
    shown = render_pair(pair("one", "two"), screen)
    assert shown.splitlines() == ["", "row 1: ok", "  prompt", "  | one", "  answer", "  | two"]


def test_a_pipe_gets_all_of_it_and_a_terminal_what_a_person_reads():
    long = "\n".join(map(str, range(1000)))
    assert "  | 999" in render_pair(pair(long, ""), Screen())
    assert f"… {1000 - MAX_LINES:,} more lines" in render_pair(pair(long, ""), Screen(100))


@given(st.text(max_size=200), st.integers(20, 60))
def test_no_line_is_wider_and_no_character_is_lost(text, width):
    lines = fold(text, width)
    assert all(display_width(line) <= width for line in lines)
    assert not any(ord(character) < 32 or character == "\x7f" for line in lines for character in line)


@pytest.mark.parametrize("width", [80, 100])
def test_wide_characters_keep_the_columns(width):
    shown = render_pair(pair("東京" * 60, "\x1b[31mred"), Screen(width, colour=True))
    assert max(display_width(line) for line in shown.replace("\x1b[", "").splitlines()) <= width + 20
    assert "\\x1b[31mred" in shown
