"""The requests in flight over a run that found their number itself: drawn as they were, counted by why they changed."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import report_browser
from support.built_in import serving

from batchgen.checkpoint.schema import ConcurrencyChange
from batchgen.reporting.in_flight import Cause, InFlight
from batchgen.reporting.plots import SIZES, in_flight_over_time, plot
from batchgen.reporting.timeline import Timeline

NIGHT = Timeline(seconds=8.0, width=2.0, ok=(4, 0, 8, 2), refused=(0, 0, 0, 0), refusals=(), cool_downs=())
FOUND = InFlight(
    4,
    8.0,
    [
        ConcurrencyChange(1.0, 8, 10.0, 0.4, "the server has room for more"),
        ConcurrencyChange(3.0, 16, 20.0, 0.4, "the server has room for more"),
        ConcurrencyChange(4.0, 9, 20.0, 0.8, "more in flight only waits longer"),
        ConcurrencyChange(6.0, 9, 20.0, 0.4, "the same again"),
    ],
    (0.4, None, 0.8, 0.45),
)


def svgs(drawn: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", drawn, re.DOTALL)]


def slots(svg: ET.Element) -> list[str]:
    return [title.text or "" for title in svg.iter("title")]


def test_what_is_drawn_is_what_was_found():
    drawn = plot("", *in_flight_over_time(FOUND, NIGHT))
    numbers, throughput, latency = svgs(drawn.wide)
    assert sorted(slots(numbers)) == [
        "0 s to 1 s: 4 in flight: the beginning",
        "1 s to 3 s: 8 in flight: the server has room for more",
        "3 s to 4 s: 16 in flight: the server has room for more",
        "4 s to 6 s: 9 in flight: more in flight only waits longer",
        "6 s to 8 s: 9 in flight: the same again",
    ]
    assert slots(throughput)[0] == "0 s to 2 s: 4 answers"
    assert slots(latency) == ["0 s to 2 s: 0.40 s", "4 s to 6 s: 0.80 s", "6 s to 8 s: 0.45 s"], "a gap is no nought"
    assert [next(svg.iter("text")).text for svg in svgs(drawn.narrow)] == [
        "requests in flight", "answers a second", "median latency, seconds",
    ]  # fmt: skip


def test_the_drawings_share_one_clock():
    many = FOUND.__class__(4, 8.0, [ConcurrencyChange(1.0, 1024, 1.0, 1.0, "x")], FOUND.latencies)
    lefts = {
        svg.find("path[@class='ground']").get("d").split(" ")[0]
        for svg in svgs(plot("", *in_flight_over_time(many, NIGHT)).wide)
    }
    assert len(lefts) == 1


def test_causes_are_counted_by_their_direction():
    assert FOUND.causes() == [
        Cause("the server has room for more", 2, 0),
        Cause("more in flight only waits longer", 0, 1),
    ]
    assert (FOUND.range, FOUND.end) == ((4, 16), 9)


MOVES = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 1024)), min_size=1, max_size=30)


@given(MOVES, st.integers(1, 120))
def test_means_by_bin_keep_the_area(moves, bins):
    found = InFlight(4, 100.0, [ConcurrencyChange(at, most, 1.0, 1.0, "") for at, most in sorted(moves)], ())
    edges = [100.0 * at / bins for at in range(bins + 1)]
    means = found.means(edges)
    area = sum((to - start) * number for start, to, number, _ in found.steps())
    assert sum(mean * (to - start) for mean, (start, to) in zip(means, pairwise(edges), strict=True)) == pytest.approx(
        area
    )
    low, high = found.range
    assert all(low - 1e-6 <= mean <= high + 1e-6 for mean in means)


@given(MOVES)
def test_whatever_was_found_the_picture_is_whole(moves):
    found = InFlight(4, 100.0, [ConcurrencyChange(at, most, 1.0, 1.0, "") for at, most in sorted(moves)], (0.5,) * 4)
    time = Timeline(100.0, 25.0, (1, 2, 3, 4), (0,) * 4, (), ())
    shown = plot("", *in_flight_over_time(found, time))
    for size, drawn in zip(SIZES, (shown.wide, shown.narrow), strict=True):
        for svg in svgs(drawn):
            height = float(svg.get("viewBox").split(" ")[3])
            for path in svg.iter("path"):
                assert all(0 <= float(x) <= size.width for x in re.findall(r"[MH]([\d.-]+)", path.get("d")))
                assert all(0 <= float(y) <= height for y in re.findall(r"V([\d.-]+)", path.get("d")))


def test_a_run_that_finds_the_number_itself_shows_how(job, called):
    rows = [{"id": str(n), "name": f"shelf {n}"} for n in range(400)]
    path = job(rows, limits={"concurrency": "auto"}, report=True)
    page = job.folder / "out" / "job.report.html"
    with serving("--slots", 8, "--latency", 0.02) as url:
        assert called("run", path, env={"WRITER_BASE_URL": url}).returncode == 0
        html = page.read_text(encoding="utf-8")
        assert "<h2>Requests in flight</h2>" in html
        assert re.search(
            r"Found by the run: [\d,]+ at its end, from [\d,]+ to [\d,]+ on the way, with \d+ changes?\.", html
        )
        assert "the server has room for more" in html
        if report_browser.CHROMIUM is not None:
            seen = report_browser.look(page)
            assert (seen.said, seen.asked) == ([], [])
            assert {where: out for where, out in seen.out.items() if out} == {}
            assert {where: faint for where, faint in seen.faint.items() if faint} == {}
        job(rows, limits={"concurrency": 8}, report=True)
        assert called("run", path, "--fresh", env={"WRITER_BASE_URL": url}).returncode == 0
    assert "Requests in flight" not in page.read_text(encoding="utf-8")
