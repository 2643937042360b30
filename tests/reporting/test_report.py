"""The report: its facts are the checkpoint's, its page is whole, and what others wrote is inert in it."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from msgspec.structs import replace
from support import report_browser
from support.service import Hold, Raw, Status

from batchgen.checkpoint.checkpoint import Checkpoint
from batchgen.checkpoint.schema import DAMAGED, INTERRUPTED, OK, Record
from batchgen.job.load import read_job
from batchgen.reporting import texts
from batchgen.reporting.facts import Facts, gather
from batchgen.reporting.page import verdict
from batchgen.reporting.queries import ReportReader
from batchgen.reporting.subject import Subject
from batchgen.reporting.write import path_of, write

NOW = 1_790_000_000_000_000
SECOND = 1_000_000
ROWS = [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(8)]
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """A page, read: its tags, whether they close as they should, its text and what would act in it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.active: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag in ("script", "iframe", "object", "embed", "base", "form", "img"):
            self.active.append(tag)
        for name, value in attrs:
            loads = name in ("src", "srcset", "action", "poster") or "javascript:" in (value or "")
            self.links += [value] if (tag, name) == ("a", "href") else []
            elsewhere = name in ("href", "xlink:href") and not re.match(r"#|data:,|[^:/?#]+(/[^:?#]*)?$", value or "")
            if (
                name.startswith("on")
                or loads
                or elsewhere
                or (name == "style" and "url(" in value and "url(#" not in value)
            ):
                self.active.append(f"{tag} {name}={value}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.text += data


def page_of(path: Path) -> Page:
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert page.active == []
    assert len(page.ids) == len(set(page.ids)), "no two figures share an id"
    assert "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'" in html
    assert not re.search(r"@import|expression\(|<!--", html)
    return page


class Stored:
    """A job whose checkpoint is written by hand: every number in it is known."""

    def __init__(self, job) -> None:
        self.path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(40)])
        self.job = read_job(self.path)
        self.job.state_folder.mkdir(parents=True)
        self.checkpoint = Checkpoint(self.job.checkpoint)

    def run(self, records: list[Record], rows: int, todo: int, at: int, *, ended: str | None = "finished") -> None:
        run = self.checkpoint.start_run(at, "2026-09-21", 0, rows, todo)
        self.checkpoint.add(records)
        if ended:
            self.checkpoint.end_run(run, at + 100 * SECOND, ended, None)

    def facts(self) -> Facts:
        with closing(ReportReader(self.job.checkpoint)) as reader:
            return gather(reader, Subject(self.job, "here"))

    def page(self) -> Page:
        return page_of(write(Subject(self.job, "here")))


@pytest.fixture
def stored(job) -> Iterator[Stored]:
    stored = Stored(job)
    yield stored
    stored.checkpoint.close()


def attempt(n: int, outcome: str = OK, *, status: int | None = 200, final: bool = True, **given) -> Record:
    """Of row `n`, at second `n` of the night, in n/10 seconds; its text is as long as the row's number says."""
    text, tries, at = given.get("text", "x" * (n + 1)), given.get("tries", 1), given.get("at", NOW)
    content = [{"token": "x", "logprob": -float(n)}]
    body = {"choices": [{"text": text, "log_probs": {"content": content, "refusal": None}}], "model": "palmyra-x5"}
    ok = outcome == OK
    return Record(
        key=n.to_bytes(16),
        outcome=outcome,
        final=final,
        attempts=tries,
        status=status,
        error=None if ok else given.get("error", f"{status} no"),
        latency=n / 10,
        finished_at=at + n * SECOND,
        choices=int(ok),
        name=f"r{n}",
        body=json.dumps(body).encode() if ok else None,
    )


def test_every_number_of_a_night_that_is_known(stored):
    refused = [attempt(n, "busy", status=429, final=False) for n in (1, 2, 3)]
    answers = [attempt(n, tries=2 if n in (1, 2, 3) else 1) for n in range(30)]
    failed = [attempt(n, "invalid", status=400, error="400 too long") for n in range(30, 34)]
    failed += [attempt(34, "refused", status=400, error="400 blocked")]
    stored.run([*refused, *answers, *failed], 35, 35, NOW)
    facts = stored.facts()
    counts = facts.counts
    assert (counts.rows, counts.ok, counts.new, counts.failed, counts.pending, counts.reused) == (35, 30, 30, 5, 0, 0)
    assert verdict(facts) == "30 of 35 rows have their text; 5 failed."
    kinds = {(kind.outcome, kind.status): (kind.attempts, kind.final) for kind in facts.sending.figures.kinds}
    assert kinds == {("ok", 200): (30, 30), ("busy", 429): (3, 0), ("invalid", 400): (4, 4), ("refused", 400): (1, 1)}
    assert facts.sending.requests_a_row == [(1, 27), (2, 3)]
    assert facts.sending.figures.seconds == 34
    assert facts.sending.figures.latencies.sort().to_list() == [n / 10 for n in range(30)]
    assert [(r.outcome, r.rows, r.messages[0].error, r.messages[0].name) for r in facts.reasons] == [
        ("invalid", 4, "400 too long", "r30"),
        ("refused", 1, "400 blocked", "r34"),
    ]
    assert facts.looked.answers["chars"].to_list() == list(range(1, 31))
    assert facts.looked.answers["mean_logprob"].to_list() == [-float(n) for n in range(30)]
    assert facts.sending.spent.answer_tokens == sum(-(-n // 4) for n in range(1, 31))
    assert facts.sending.spent.cost is None, "without the input nobody knows the prompts"
    assert (sum(facts.sending.time.ok), sum(facts.sending.time.refused)) == (30, 3)
    assert [sample.why for sample in facts.samples[:6]] == [
        *["shortest"] * 2,
        *["longest"] * 2,
        *["least confident"] * 2,
    ]
    assert len(facts.samples) == 12
    stored.page()


def test_a_second_night_is_told_from_the_first_and_held_against_it(stored):
    refused = [attempt(n, "busy", status=429, final=False) for n in (1, 2)]
    stored.run([*refused, *(attempt(n) for n in range(20))], 20, 20, NOW)
    stored.run([attempt(n, at=NOW + 3600 * SECOND) for n in range(20, 25)], 25, 5, NOW + 3600 * SECOND)
    facts = stored.facts()
    counts = facts.counts
    assert counts.gone == 0
    assert (counts.ok, counts.new, counts.reused, counts.failed, counts.pending) == (25, 5, 20, 0, 0)
    assert (facts.sending.figures.ok, facts.sending.before.ok) == (5, 20)
    assert facts.sending.before.looked.answers["chars"].to_list() == list(range(1, 21))
    assert "Beside the last good run" in stored.page().text


def test_a_run_that_sent_nothing_shows_the_one_before(stored):
    stored.run([attempt(n) for n in range(20)], 20, 20, NOW)
    stored.run([], 20, 0, NOW + 3600 * SECOND)
    facts = stored.facts()
    assert (facts.counts.reused, facts.counts.new, facts.sending.figures.ok, facts.sending.before) == (20, 0, 20, None)
    page = stored.page()
    assert "All 20 rows have their text." in page.text
    assert "The last run sent nothing" in page.text


def test_failures_of_earlier_runs_that_were_healed_are_none(stored):
    stored.run([attempt(0), attempt(1, "invalid", status=400)], 2, 2, NOW)
    stored.run([attempt(1, tries=2)], 2, 1, NOW + SECOND)
    facts = stored.facts()
    assert (facts.counts.ok, facts.counts.failed, facts.reasons) == (2, 0, [])


def test_failures_that_were_left_alone_are_failures_still(stored):
    stored.run([attempt(0), attempt(1, "invalid", status=400)], 2, 2, NOW)
    stored.run([attempt(2)], 3, 1, NOW + SECOND)
    counts = stored.facts().counts
    assert (counts.ok, counts.reused, counts.failed, counts.pending) == (2, 1, 1, 0)


def test_damaged_and_interrupted_are_notes_and_no_answers(stored):
    stored.run([attempt(0), attempt(1)], 3, 3, NOW, ended=None)
    lost = attempt(0, DAMAGED, status=None, final=False)
    stored.checkpoint.add([lost, attempt(2, INTERRUPTED, status=None, final=False)])
    stored.run([attempt(0, tries=2, text="anew"), attempt(2, tries=2)], 3, 2, NOW + SECOND)
    facts = stored.facts()
    assert (facts.counts.ok, facts.counts.reused, facts.looked.of) == (3, 1, 3)
    assert sorted(facts.looked.answers["chars"]) == [2, 3, 4]
    assert facts.notes == {"damaged": 1, "interrupted": 1}


def test_cool_downs_are_the_pauses_that_refusals_begin(stored):
    """Rows are sent a second apart, but for ten seconds after a refusal, and for ten without a reason."""
    sent = [*range(10), *range(20, 30), *range(40, 50)]
    records = [replace(attempt(n, at=NOW), latency=0.01) for n in sent]
    refusal = replace(attempt(9, "busy", status=429, final=False), latency=0.01)
    stored.run([*records, refusal], 40, 40, NOW)
    time = stored.facts().sending.time
    (cool_down,) = time.cool_downs
    assert cool_down == pytest.approx((9, 20), abs=0.2)
    assert time.cooled == pytest.approx(11, abs=0.2)
    assert time.refusals == pytest.approx([9], abs=0.1)


def test_of_many_answers_an_even_sample_is_looked_at_and_the_page_says_so(stored, monkeypatch):
    monkeypatch.setattr(texts.look, "__defaults__", (10, 10))
    stored.run([attempt(n) for n in range(40)], 40, 40, NOW)
    facts = stored.facts()
    assert facts.looked.answers["chars"].to_list() == list(range(4, 41, 4))
    assert "An even sample: 10 of 40 answers." in stored.page().text


def test_repeated_texts_are_counted_and_one_of_them_is_shown(stored):
    texts = ["same"] * 5 + ["alike"] * 2 + [f"own {n}" for n in range(13)]
    stored.run([attempt(n, text=text) for n, text in enumerate(texts)], 20, 20, NOW)
    facts = stored.facts()
    groups, rows, different = facts.repeats
    assert ([group.rows for group in groups], rows, different) == ([5, 2], 7, 15)
    assert list(facts.group_texts.values()) == ["same", "alike"]
    assert {"shortest, one of 5 alike", "shortest, one of 2 alike"} & {sample.why for sample in facts.samples}


HOSTILE = [
    "<script>alert(1)</script>",
    "</style><script>alert(2)</script>",
    "</title></textarea></pre></div><img src=x onerror=alert(3)>",
    '" onmouseover="alert(4)" x="',
    "javascript:alert(5)",
    '<a href="javascript:alert(6)">x</a>',
    "{{ 7 * 7 }}{% raw %}{% include 'x' %}",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202eesrever\u2066isolated\u2069",
    "a\x00b\x0bc\u2028d",
    "https://example.invalid/pixel.png",
    "<!-- ]]> --><svg/onload=alert(7)>",
    "e" + "\u0301" * 2000,
    "W" * 5000,
    "&lt;b&gt;&#x202e;",
    "",
    "\n \t\n",
]


def test_whatever_the_service_says_is_inert(job, service, called, monkeypatch):
    """Texts, models and errors; ids and the job's own words as well."""
    monkeypatch.setattr(texts, "SAMPLES", 40)
    big = "<b>" * (1 << 18)
    said = [*HOSTILE, "\ud800 lone", big]
    names = [re.sub("[\x00\ud800]", "", text) for text in said]
    rows = [{"id": f"{n} {name[:40]}", "name": f"n{n} {name[:60]}"} for n, name in enumerate(names)]

    def answer(_, body):
        n = int(body["prompt"].split("about n")[1].split()[0])
        if n in (1, 4):
            error = {
                "tpe": said[n],
                "errors": [{"description": said[n], "key": said[n], "extras": None}],
                "extras": None,
            }
            return Status(400, error)
        log_probs = {"content": [{"token": said[n][:20], "logprob": -1.0, "top_logprobs": []}], "refusal": None}
        return Raw(json.dumps({"choices": [{"text": said[n], "log_probs": log_probs}], "model": said[n][:50]}).encode())

    service.script = answer
    template = "Write about {{ name }}. <script>alert('job')</script>"
    path = job(rows, kind="ndjson", prompt=template, request={"stop": ["</style>", "\u202e"]})
    assert called("run", path).returncode == 1
    ended = called("report", path)
    assert ended.returncode == 0, ended.stderr
    target = job.folder / "out" / "job.report.html"
    assert str(target) in ended.stdout
    page = page_of(target)
    assert "script" not in page.tags
    for shown in ("alert(2)", "\\x1b[31mred", "\\u202eesrever", "a\\x00b", "{{ 7 * 7 }}", "&lt;b&gt;"):
        assert shown in page.text
    html = target.read_text(encoding="utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)
    assert "more characters" in page.text
    assert len(html) < 400_000
    if report_browser.CHROMIUM:
        seen = report_browser.look(target)
        assert (seen.said, seen.asked) == ([], [])
        assert {where: out for where, out in seen.out.items() if out} == {}


def test_the_key_is_not_in_it(job, service, called):
    path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(8)])
    assert called("run", path).returncode == 0
    assert called("report", path).returncode == 0
    html = (job.folder / "out" / "job.report.html").read_text(encoding="utf-8")
    assert service.key not in html
    assert "Write about shelf 0." in Page(html).text, "the prompts are the input's"


def test_it_does_without_an_input_that_is_gone(job, service, called):
    path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(8)])
    assert called("run", path).returncode == 0
    (job.folder / "rows.csv").unlink()
    ended = called("report", path)
    assert ended.returncode == 0, ended.stderr
    assert "shows no prompts" in ended.stderr
    assert "All 8 rows have their text." in page_of(job.folder / "out" / "job.report.html").text


def test_an_input_without_rows(job, service, called):
    path = job([])
    assert called("run", path).returncode == 0
    assert called("report", path).returncode == 0
    assert "The input has no rows" in page_of(job.folder / "out" / "job.report.html").text


def test_a_night_in_which_all_failed(job, service, called):
    service.script = lambda *_: Status(422, "<p>no</p>")
    path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(9)], limits={"concurrency": 1})
    assert called("run", path).returncode == 1
    assert called("report", path).returncode == 0
    page = page_of(job.folder / "out" / "job.report.html")
    assert "No row has its text: all 9 failed." in page.text
    assert "row 1 (r0) and 8 more" in page.text


# after each run


def test_each_run_leaves_its_report_and_says_where(job, service, batchgen):
    path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(8)], report=True)
    ended = batchgen("run", path)
    assert ended.stdout.splitlines()[-1].split()[0] == "report"
    page = page_of(job.folder / "out" / "job.report.html")
    assert "All 8 rows have their text." in page.text
    assert "Write about shelf 0." in page.text
    assert batchgen("run", path, "--fresh", "--json").json["report"] == str(job.folder / "out" / "job.report.html")


def test_a_run_measures_its_answers_as_one_does_who_reads_them_again(job, service, called, monkeypatch):
    """It takes the measures of what it has just published, and `report` those of what the checkpoint holds."""
    seen = []
    published = []

    def gathered(reader: ReportReader, subject: Subject) -> Facts:
        published.append(subject.published)
        seen.append(gather(reader, subject))
        return seen[-1]

    monkeypatch.setattr("batchgen.reporting.facts.gather", gathered)
    service.script = lambda _, body: Status(400) if "lamp" in body["prompt"] else None
    names = ["lamp", "tent", "tent", *(f"shelf {n}" for n in range(9))]
    path = job([{"id": f"r{n}", "name": name} for n, name in enumerate(names)], duplicates="once", report=True)
    assert called("run", path).returncode == 1
    assert called("report", path).returncode == 0
    of_run, again = (facts.looked for facts in seen)
    assert (of_run.answers.to_dicts(), of_run.of) == (again.answers.to_dicts(), again.of)
    assert of_run.answers.height == 10
    assert published[0].answers is of_run, "it reads nothing again"
    assert published[1] is None


def test_a_job_may_do_without(job, service, called):
    path = job([{"id": "r0", "name": "shelf"}], report=False)
    ended = called("run", path)
    assert ended.returncode == 0
    assert "report.html" not in ended.stdout
    assert not list(job.folder.rglob("*.html"))


def test_a_page_that_has_seen_all_stands_where_nothing_was_sent(job, service, called):
    path = job(ROWS, report=True)
    page = job.folder / "out" / "job.report.html"
    called("run", job(ROWS[:5], report=True))
    of_five = page.read_text(encoding="utf-8")
    assert called("run", job(ROWS, report=True)).returncode == 0
    page.write_text(page.read_text(encoding="utf-8") + "<p>read, and kept</p>", encoding="utf-8")
    assert str(page) in called("run", path).stdout
    assert "read, and kept" in page.read_text(encoding="utf-8")
    page.write_text(
        of_five, encoding="utf-8"
    )  # as if the run that sent the rest had been killed before it wrote its own
    assert called("run", path).returncode == 0
    assert "All 8 rows have their text." in page_of(page).text
    page.unlink()
    assert called("run", path).returncode == 0
    assert page.exists()


def test_a_page_of_other_rows_does_not_stand(job, service, called):
    """Though nothing was sent after it was made."""
    page = job.folder / "out" / "job.report.html"
    assert called("run", job(ROWS, report=True)).returncode == 0
    for rows in (ROWS[:5], ROWS[3:], ROWS[:5], ROWS):
        assert called("run", job(rows, report=True), "--json").json["sent"] == 0
        assert f"All {len(rows)} rows have their text." in page_of(page).text
    assert "shelf 0" in page_of(page).text


def test_a_page_of_other_row_numbers_does_not_stand(job, service, called):
    service.script = lambda _, body: Status(400) if "lamp" in body["prompt"] else None
    page = job.folder / "out" / "job.report.html"
    rows = [{"id": "", "name": name} for name in ("lamp", "tent", "boat", "oar")]
    given = {"input": {"id": None}, "report": True}
    assert called("run", job(rows, **given)).returncode == 1
    assert "400row 1" in page_of(page).text
    for at in (3, 2):
        moved = [*rows[1 : at + 1], rows[0], *rows[at + 1 :]]
        ended = called("run", job(moved, **given), "--no-retry-failed", "--json")
        assert (ended.json["sent"], ended.json["failed"]) == (0, 1)
        assert f"400row {at + 1}" in page_of(page).text


def test_a_page_of_rows_that_others_moved_does_not_stand(job, service, called):
    """Rows that are not the job's count in the numbers."""
    service.script = lambda _, body: Status(400) if "lamp" in body["prompt"] else None
    page = job.folder / "out" / "job.report.html"
    rows = [{"id": "", "name": name} for name in ("lamp", "tent")]
    given = {"input": {"id": None, "where": "name <> 'boat'"}, "report": True}
    assert called("run", job(rows, **given)).returncode == 1
    ended = called("run", job([{"id": "", "name": "boat"}, *rows], **given), "--no-retry-failed", "--json")
    assert (ended.json["sent"], ended.json["failed"]) == (0, 1)
    assert "400row 2" in page_of(page).text


def test_a_page_of_other_settings_does_not_stand(job, service, called):
    page = job.folder / "out" / "job.report.html"
    for dollars in (1, 1000):
        prices = {"palmyra-x5": {"input": dollars, "output": dollars}}
        assert called("run", job(ROWS, prices=prices, report=True)).returncode == 0
        assert f"output: {dollars}.0" in page_of(page).text
    assert service.requests == len(ROWS)


def test_a_page_of_results_that_were_kept_out_does_not_stand_once_they_are_in_place(job, service, called):
    path = job(ROWS, report=True)
    page = job.folder / "out" / "job.report.html"
    assert called("run", path).returncode == 0
    service.script = lambda _, body: Status(400) if "shelf 3" in body["prompt"] else None
    path = job(ROWS, prompt="Sing of {{ name }}.", report=True)
    assert called("run", path).returncode == 1
    assert "keeps its 8 texts" in page_of(page).text
    job.output.unlink()
    assert called("run", path, "--no-retry-failed", "--json").json["sent"] == 0
    assert "keeps its 8 texts" not in page_of(page).text


def test_a_page_does_not_stand_where_answers_were_taken_in(job, service, called):
    assert called("run", job(ROWS, name="other", output={"path": "out/other.parquet"})).returncode == 0
    path = job(ROWS, until={"requests": 3}, report=True)
    page = job.folder / "out" / "job.report.html"
    assert called("run", path).returncode == 3
    assert "3 of 8 rows" in page_of(page).text
    ended = called("run", path, "--adopt", job.checkpoint.with_name("other.sqlite"), "--json")
    assert (ended.returncode, ended.json["sent"]) == (0, 0)
    assert "All 8 rows have their text." in page_of(page).text


def test_a_report_after_a_limited_run_is_beside_its_results(job, service, called):
    path = job(ROWS, report=True)
    assert called("run", path).returncode == 0
    whole = job.folder / "out" / "job.report.html"
    before = whole.read_bytes()
    assert called("run", path, "--limit", "3").returncode == 0
    first = job.folder / "out" / "job.first-3.report.html"
    first.unlink()
    ended = called("report", path)
    assert (ended.returncode, str(first) in ended.stdout) == (0, True)
    assert "warning: only the rows of the last run, which had --limit 3; without it, a run has all" in ended.stderr
    page = page_of(first)
    assert "All 3 rows have their text." in page.text
    assert page.links == ["job.first-3.parquet"]
    assert whole.read_bytes() == before


@pytest.mark.parametrize("broken", ["a folder", "a bug"])
def test_a_report_that_cannot_be_costs_the_run_nothing(job, service, called, monkeypatch, broken):
    path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(8)], report=True)
    if broken == "a folder":
        (job.folder / "out" / "job.report.html" / "x").mkdir(parents=True)
    else:
        monkeypatch.setattr("batchgen.reporting.facts.gather", lambda *_: 1 / 0)
    ended = called("run", path)
    assert ended.returncode == 0
    assert len(job.rows()) == 8
    (said,) = [line for line in ended.stderr.splitlines() if "warning" in line]
    assert "there is no report of this run" in said
    assert "report.html" not in ended.stdout
    assert not [name for name in job.files() if name.endswith(".tmp")]


def test_a_run_that_was_stopped_and_the_run_that_ends_it(job, service, called):
    path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(12)], until={"requests": 6}, report=True)
    page = job.folder / "out" / "job.report.html"
    assert called("run", path).returncode == 3
    assert "Stopped before the end: 6 of 12 rows have their text; 6 are still to do." in page_of(page).text
    assert called("run", path).returncode == 0
    assert "All 12 rows have their text." in page_of(page).text


def test_a_damaged_answer_is_bought_again_and_told_in_the_same_report(job, service, called):
    path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(6)], report=True)
    assert called("run", path).returncode == 0
    with closing(sqlite3.connect(job.checkpoint)) as db:
        db.execute("UPDATE bodies SET body = x'00', size = NULL WHERE id = 2")
        db.commit()
    assert called("run", path).returncode == 0
    text = page_of(job.folder / "out" / "job.report.html").text
    assert "All 6 rows have their text." in text
    assert "1 stored answer found damaged, and bought again." in text


def test_a_text_that_a_looser_check_takes_is_no_failure(job, service, called):
    """The results know; the attempts still say that it was unfit."""
    rows = [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(6)]
    page = job.folder / "out" / "job.report.html"
    assert called("run", job(rows, check={"min_chars": 100_000, "retries": 0}, report=True)).returncode == 1
    assert "No row has its text: all 6 failed." in page_of(page).text
    assert called("run", job(rows, check={"min_chars": 1, "retries": 0}, report=True)).returncode == 0
    text = page_of(page).text
    assert "All 6 rows have their text." in text
    assert "What failed" not in text


def test_before_the_first_run_there_is_none(job, service, called):
    ended = called("report", job([{"id": "r0", "name": "shelf"}]))
    assert ended.returncode == 5
    assert "the job has not run yet" in ended.stderr


def test_while_the_job_runs(job, service, start, ended, called):
    """Read-only: the run goes on, and ends well."""
    service.script = lambda n, _: Hold() if n > 6 else None
    path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(12)], limits={"concurrency": 2}, report=True)
    running = start("run", path, "--json")
    service.wait(lambda service: service.requests >= 8)
    told = called("report", path)
    assert told.returncode == 0, told.stderr
    page = page_of(job.folder / "out" / "job.report.html")
    assert "At work: 6 of 12 rows have their text so far." in page.text
    service.release()
    last = ended(running)
    assert (last.returncode, last.json["ok"]) == (0, 12), last.stderr


@pytest.mark.parametrize(
    ("output", "page", "link"),
    [
        pytest.param("out/job.parquet", None, "job.parquet", id="beside it"),
        pytest.param("out/job.parquet", "monday.html", "out/job.parquet", id="in another folder"),
        pytest.param("out/a b/ö#1:2.parquet", None, "%C3%B6%231%3A2.parquet", id="a name that is no address"),
    ],
)
def test_it_links_the_results_and_what_failed(output, page, link, job, service, called):
    service.script = lambda _, body: Status(400) if body["prompt"].endswith("2.") else None
    path = job([{"id": f"{n}", "name": f"shelf {n}"} for n in range(3)], output={"path": output}, report=True)
    assert called("run", path).returncode == 1
    if page is not None:
        assert called("report", path, "-o", job.folder / page).returncode == 0
    written = job.folder / page if page else next((job.folder / output).parent.glob("*.report.html"))
    seen = page_of(written)
    assert sorted(seen.links) == sorted(["#failures", link])
    assert (written.parent / unquote(link)).is_file()
    assert {one.removeprefix("#") for one in seen.links if one.startswith("#")} <= set(seen.ids)


def test_it_links_no_results_that_are_not_there(job, service, called):
    path = job([{"id": "1", "name": "a shelf"}], report=True)
    called("run", path)
    job.output.unlink()
    assert called("report", path).returncode == 0
    assert page_of(job.folder / "out" / "job.report.html").links == []


def test_it_appears_whole_or_not_at_all(stored, monkeypatch):
    stored.run([attempt(n) for n in range(6)], 6, 6, NOW)
    target = path_of(stored.job, "2026-09-21")
    target.write_text("the old one", encoding="utf-8")

    def broken(_) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("batchgen.storage.atomic.os.fsync", broken)
        with pytest.raises(Exception, match="cannot be written: No space left"):
            stored.page()
    assert target.read_text(encoding="utf-8") == "the old one"
    assert not list(target.parent.glob(".*.tmp"))
    stored.page()
    assert target.read_text(encoding="utf-8").endswith("</html>")


@pytest.mark.parametrize("name", ["report.pdf", "report"])
def test_it_is_html(job, service, called, name):
    ended = called("report", job([{"id": "r0", "name": "shelf"}]), "-o", job.folder / name)
    assert ended.returncode == 2
    assert "ends in .html" in ended.stderr


def test_the_same_facts_make_the_same_page(stored, monkeypatch):
    stored.run([attempt(n) for n in range(20)], 20, 20, NOW)
    monkeypatch.setattr("batchgen.reporting.facts.time.time_ns", lambda: NOW * 1000)
    first, second = (write(Subject(stored.job, "here")).read_bytes() for _ in range(2))
    assert first == second


@pytest.mark.skipif(report_browser.CHROMIUM is None, reason="no chromium here")
def test_in_a_browser_nothing_is_asked_for_and_nothing_sticks_out(job, service, called):
    service.script = lambda n, _: Status(429, headers={"Retry-After": "0.1"}) if n in (9, 20) else None
    path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(40)], report=True)
    assert called("run", path).returncode == 0
    assert called("report", path).returncode == 0
    seen = report_browser.look(job.folder / "out" / "job.report.html")
    assert (seen.said, seen.asked) == ([], [])
    assert {where: out for where, out in seen.out.items() if out} == {}
    assert {where: faint for where, faint in seen.faint.items() if faint} == {}
