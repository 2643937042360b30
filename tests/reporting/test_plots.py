"""The report's plots: what is drawn is what was counted, to the pixel, and nothing stands outside the picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.reporting.plots import SIZES, histogram, over_time, plot
from batchgen.reporting.timeline import Timeline

NIGHT = Timeline(
    seconds=4.0, width=1.0, ok=(4, 0, 8, 2), refused=(0, 1, 0, 0), refusals=(1.5,), cool_downs=((1.5, 2.0),)
)


def slots(svg: str) -> list[str]:
    return [title.text or "" for title in ET.fromstring(svg).iter("title")]


def labels(svg: str) -> list[str]:
    return [text.text or "" for text in ET.fromstring(svg).iter("text")]


def shapes(svg: str, kind: str) -> list[str]:
    return [path.get("d", "") for path in ET.fromstring(svg).iter("path") if path.get("class") == kind]


def ys(path: str) -> list[float]:
    """Of its upright strokes."""
    return [float(y) for y in re.findall(r"V([\d.]+)", path)]


def test_answers_over_time_stand_as_high_as_they_are_many():
    drawn = plot("", over_time(NIGHT, None)).wide
    (line,) = shapes(drawn, "good")
    floor, heights = max(ys(line)), ys(line)
    assert [round((floor - y) / (floor - heights[0]), 1) for y in heights] == [1.0, 0.0, 2.0, 0.5]
    assert slots(drawn)[:3] == ["0 s to 1 s: 4 answers", "1 s to 2 s: 0 answers, 1 refusal", "2 s to 3 s: 8 answers"]
    assert len(shapes(drawn, "bad")) == 1, "refusals are marks"
    assert len(shapes(drawn, "band wait")) == 1
    assert labels(drawn)[0] == "answers a second"


@pytest.mark.parametrize(
    ("granted", "is_drawn"),
    [
        pytest.param(None, False, id="where no rate is granted there is none to draw"),
        pytest.param(600, True, id="a rate that is near is drawn"),
        pytest.param(60_000, False, id="one that is far off would flatten all the rest"),
    ],
)
def test_the_granted_rate(granted: float | None, *, is_drawn: bool):
    drawn = plot("", over_time(NIGHT, granted)).narrow
    assert bool(shapes(drawn, "level")) == is_drawn
    assert ("dashed: 10 granted" in labels(drawn)) == is_drawn


def test_many_refusals_are_a_line():
    many = Timeline(4.0, 1.0, (4, 0, 8, 2), (99, 99, 99, 103), tuple(n / 100 for n in range(400)), ())
    drawn = plot("", over_time(many, None)).wide
    assert len(ys(shapes(drawn, "bad")[0])) == len(many.refused)


def test_bars_count_every_value_once():
    values = pl.Series([1, 1, 2, 3, 3, 3])
    drawn = plot("", histogram(values, {"median": 2.0}, "of", lambda value: f"{value:,.0f}")).wide
    assert [told for told in slots(drawn) if not told.endswith(": 0")] == ["1: 2", "2: 1", "3: 3"]
    assert "median 2" in labels(drawn)


def test_what_lies_far_out_is_in_the_last_bar():
    values = pl.Series([*range(1000), 10**9])
    drawn = plot("", histogram(values, {}, "texts", lambda value: f"{value:,.0f}"))
    assert labels(drawn.wide)[0] == "texts; the last bar is all from 995 up"
    counted = [int(told.rpartition(" ")[2].replace(",", "")) for told in slots(drawn.wide)]
    assert sum(counted) == len(values)


NUMBERS = st.one_of(
    st.lists(st.integers(-(10**12), 10**12), min_size=1).map(pl.Series),
    st.lists(st.floats(-1e9, 1e9, allow_subnormal=False), min_size=1).map(pl.Series),
)


@given(NUMBERS)
def test_whatever_the_values_the_picture_is_whole(values: pl.Series):
    drawn = plot("", histogram(values, {"p50": float(values[0])}, "of", str))
    for size, svg in zip(SIZES, (drawn.wide, drawn.narrow), strict=True):
        places = [path.get("d", "") for path in ET.fromstring(svg).iter("path")]
        across = [float(x) for path in places for x in re.findall(r"[MH]([\d.-]+)", path)]
        upright = [float(y) for path in places for y in re.findall(r"V([\d.-]+)", path)]
        assert 0 <= min(across) <= max(across) <= size.width
        assert 0 <= min(upright) <= max(upright) <= size.height
        counted = [int(told.rpartition(" ")[2].replace(",", "")) for told in slots(svg)]
        assert sum(counted) == len(values)


def test_colours_are_the_pages():
    drawn = plot("", over_time(NIGHT, 600)).wide
    assert not re.search(r"#[0-9a-f]{3}|rgb|style=|id=", drawn)
