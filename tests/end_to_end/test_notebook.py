"""In a notebook: the example is true, what is returned shows itself and nothing of what others wrote, and the stop
button stops a run in order. Real kernels, executed by the protocol that notebooks use."""

from __future__ import annotations

import base64
import doctest
import io
import os
import shutil
import subprocess
from collections import Counter
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Self

import matplotlib.image
import nbformat
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from IPython.lib.pretty import pretty
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from support.durability import HUNG, Slow, Work, prompts, wait_for

import batchgen
from batchgen.runner.summary import Summary
from batchgen.ui.panel import Panel, PanelLine, TextBlock

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "jobs" / "seo.ipynb"


@pytest.fixture(autouse=True)
def jupyter_at_home(tmp_path, monkeypatch):
    """Kernels leave their files in the test's folder, and show pictures as a notebook does."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter" / name))
        (tmp_path / "jupyter" / name).mkdir(parents=True)
    monkeypatch.delenv("MPLBACKEND", raising=False)


@pytest.fixture
def shop(tmp_path):
    """The repository's jobs and their input, where a run may leave results."""
    for folder in ("jobs", "sample_data"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


# the example


def test_the_example_notebook_is_stored_without_outputs():
    for cell in nbformat.read(EXAMPLE, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_example_notebook_runs_and_shows_what_it_promises(shop):
    """Nbclient raises where a cell fails."""
    book = nbformat.read(shop / "jobs" / EXAMPLE.name, as_version=4)
    where = {"metadata": {"path": str(shop / "jobs")}}
    NotebookClient(book, kernel_name="python3", timeout=HUNG, resources=where).execute()
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert sum("plt.show" in cell.source for cell in code) == 2
    for cell in code[1:]:  # the first only imports
        shown = {kind: data for output in cell.outputs for kind, data in output.get("data", {}).items()}
        assert "Warning" not in str(cell.outputs)
        if "plt.show" in cell.source:
            assert something_is_drawn(base64.b64decode(shown["image/png"]))
        elif "print" in cell.source:
            assert "perplexity" in cell.outputs[-1].text
        else:
            assert "<table" in shown["text/html"]
    assert (shop / "out" / "seo.local.parquet").is_file()


def something_is_drawn(png: bytes) -> bool:
    """A frame alone, without bars or a line in it, is of black and white and grey."""
    pixels = matplotlib.image.imread(io.BytesIO(png))[..., :3]
    return ((pixels.max(axis=2) - pixels.min(axis=2)) > 0.5).mean() > 0.001


@pytest.mark.parametrize("name", ["run", "plan", "read_job"])
def test_the_examples_in_the_docstrings_are_true(name, shop, monkeypatch):
    monkeypatch.chdir(shop)
    monkeypatch.delenv("WRITER_BASE_URL", raising=False)
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(batchgen, name), name, globs={"batchgen": batchgen})
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0


async def test_a_rehearsal_inside_a_running_loop(shop):
    """Its simulated loop is a second one, for which this thread has no room."""
    assert batchgen.plan(shop / "jobs" / "seo.yaml", rehearse=True).rehearsal.seconds > 60


# a kernel


class Cell:
    """What one wrote so far, its HTML, and the name of the error it ended with."""

    def __init__(self, client, code: str) -> None:
        self.text, self.html, self.error = "", "", ""
        self._client, self._id = client, client.execute(code)

    def until(self, words: str) -> None:
        while words not in self.text:
            assert self._takes_one(), "it has ended"

    def end(self) -> Self:
        while self._takes_one():
            pass
        return self

    def _takes_one(self) -> bool:
        message = self._client.get_iopub_msg(timeout=HUNG)
        kind, content = message["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") != self._id:
            return True
        self.text += content.get("text", "")
        self.html += content.get("data", {}).get("text/html", "")
        self.error += content.get("ename", "")
        return kind != "status" or content["execution_state"] != "idle"


class Kernel:
    def __init__(self, folder: Path) -> None:
        self._manager = KernelManager(kernel_name="python3")
        self._manager.start_kernel(cwd=str(folder), stderr=subprocess.DEVNULL)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=HUNG)

    def __call__(self, code: str) -> Cell:
        return Cell(self._client, code)

    def interrupt(self) -> None:
        """The stop button."""
        self._manager.interrupt_kernel()

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()


@pytest.fixture
def server(monkeypatch):
    with Slow() as server:
        monkeypatch.setenv("WRITER_BASE_URL", server.url)
        monkeypatch.setenv("WRITER_API_KEY", "test-key-4f1d0c")
        yield server


@pytest.fixture
def kernel(tmp_path, server):
    with closing(Kernel(tmp_path)) as kernel:
        yield kernel


def half_slow(count: int) -> list[str]:
    """Prompts of which every fifth waits for the server's release."""
    return [f"{'slow' if n % 5 == 0 else 'quick'} {n}" for n in range(count)]


def test_an_interrupt_lets_what_is_in_flight_end(tmp_path, server, kernel):
    asked = half_slow(60)
    work = Work(tmp_path).write(asked, concurrency=8)
    server.hold(after=20)
    run = f"import batchgen; batchgen.run({str(work.job)!r})"
    cell = kernel(run)
    wait_for(lambda: server.held == 8, "eight in flight, which wait for the release")
    kernel.interrupt()
    cell.until("in flight get 60 s to end")
    billed = server.billed.total()
    server.release()
    assert cell.end().error == ""
    assert server.billed.total() == billed + 8 == len(work.texts())
    assert f"{billed + 8} of 60 rows have their text" in cell.html
    assert "of 60 rows" in cell.text, "progress, where no terminal is"
    assert "Tqdm" not in cell.text, "and no advice"

    assert "60 of 60 rows have their text" in kernel(run).end().html
    assert server.billed == Counter(asked)


def test_a_second_interrupt_gives_up_what_is_in_flight(tmp_path, server, kernel):
    asked = half_slow(60)
    work = Work(tmp_path).write(asked, concurrency=20)
    cell = kernel(f"import batchgen; ended = batchgen.run({str(work.job)!r}, quiet=True); ended")
    wait_for(lambda: server.in_flight == 12 and server.billed.total() == 48, "the quick ones")
    kernel.interrupt()
    cell.until("in flight get 60 s to end")
    kernel.interrupt()
    assert cell.end().error == ""
    assert "are cancelled" in cell.text
    assert "48 of 60 rows have their text, 12 still to do" in cell.html
    said = kernel("print(ended.exit_code, ended.stopped, ended.pending)").end().text
    assert said == "3 stopped by SIGINT 12\n"
    server.release()
    assert "finished" in kernel(f"batchgen.run({str(work.job)!r})").end().html
    assert server.billed == Counter(asked)


def test_an_interrupt_while_it_plans_ends_it_before_anything_is_sent(tmp_path, server, kernel):
    work = Work(tmp_path).write(prompts(100_000))
    kernel("import batchgen.commands").end()
    cell = kernel(f"batchgen.run({str(work.job)!r})")
    wait_for(work.begun, "the checkpoint, which is made before the plan")
    kernel.interrupt()
    assert cell.end().error == "Stopped"
    assert server.requests == 0
    assert kernel("print('alive')").end().text == "alive\n"


# what shows itself

HOSTILE = "</td></table><script>alert(1)</script><img src=x onerror=alert(1)>&amp;'\"\x1b[31m\u202e\x00"
SUMMARY = Summary("seo", "/out/seo.parquet", 1, 9, 7, 0, 2, 0, {"invalid": 2}, ["row 2"], 9, 0, 0, 0, 3.0, None, [])


class Seen(HTMLParser):
    """A page's tags and attributes, and its text as a reader has it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


HARMLESS = {"div", "b", "table", "tbody", "tr", "th", "td", "details", "summary", "pre"}


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(replace(SUMMARY, name=HOSTILE), id="a name"),
        pytest.param(replace(SUMMARY, failures=[f"row 2 ({HOSTILE}): {HOSTILE}"]), id="a row's name and its error"),
        pytest.param(replace(SUMMARY, reasons={HOSTILE: 2}), id="a reason"),
        pytest.param(replace(SUMMARY, path=f"/{HOSTILE}"), id="a path"),
        pytest.param(replace(SUMMARY, pending=1, stopped=HOSTILE), id="why it was stopped"),
        pytest.param(replace(SUMMARY, rejected=[HOSTILE]), id="why it was rejected"),
        pytest.param(
            Panel(HOSTILE, HOSTILE, HOSTILE, [PanelLine(HOSTILE, HOSTILE)], texts=(TextBlock(HOSTILE, HOSTILE),)),
            id="all",
        ),
    ],
)
def test_what_others_wrote_is_text_and_inert(shown):
    seen = Seen(shown._repr_html_())
    assert set(seen.tags) <= HARMLESS
    assert seen.attributes <= {"style", "scope"}
    assert (
        "</td></table><script>alert(1)</script><img src=x onerror=alert(1)>&amp;'\"\\x1b[31m\\u202e\\x00" in seen.text
    )
    for told in (seen.text, str(shown)):
        assert not set(told) & set("\x1b\x00\u202e")


@pytest.mark.parametrize("write", [repr, pretty], ids=["Python", "IPython"])
def test_without_html_a_value_shows_itself_as_text(write, shop):
    for value in (SUMMARY, batchgen.plan(shop / "jobs" / "replies.yaml", local=True)):
        assert write(value) == str(value)


@pytest.mark.parametrize("of", [batchgen.tokens, batchgen.confidence])
def test_a_frame_without_log_probs_is_refused(of):
    with pytest.raises(batchgen.UsageError, match="frame: has no column log_probs: give what `load` or `generate`"):
        of(pl.DataFrame({"name": ["a"]}))


@pytest.mark.parametrize("of", [batchgen.tokens, batchgen.confidence])
@pytest.mark.parametrize(
    ("frame", "said"),
    [
        pytest.param(pd.DataFrame({"log_probs": [None]}), "should be a polars frame, not DataFrame", id="pandas"),
        pytest.param(pa.table({"log_probs": [None]}), "should be a polars frame, not Table", id="pyarrow"),
        pytest.param(pl.DataFrame({"log_probs": ["[]"]}), "its column log_probs is no longer", id="read from a CSV"),
    ],
)
def test_what_is_no_frame_of_results_is_refused(of, frame, said):
    with pytest.raises(batchgen.UsageError, match=f"^frame: {said}.*: give what `load` or `generate` returned"):
        of(frame)


def test_a_long_prompt_is_not_poured_into_the_notebook():
    html = Panel("a", "b", "", [], texts=(TextBlock("prompt", "x" * 10_000_000),))._repr_html_()
    assert len(html) < 10_000
    assert "9,997,000 more characters" in html


def test_a_job_shows_its_settings_and_where_the_key_is_but_no_key(shop, monkeypatch):
    monkeypatch.setenv("WRITER_API_KEY", "sk-do-not-print-me")
    job = batchgen.read_job(shop / "jobs" / "seo.yaml")
    html = job._repr_html_()
    text = Seen(html).text
    assert 'stop: ["\\n\\n\\n"], best_of: 1' in text
    assert "requests_per_minute: 400, tokens_per_minute: 25000" in text
    assert "schema: {price: Float64}" in text
    assert "WRITER_API_KEY" in text
    assert "Shop's notes: {{ notes }}" in text
    assert "do-not-print" not in html + str(job) + repr(job)


def test_a_plan_shows_itself(shop):
    shown = batchgen.plan(shop / "jobs" / "replies.yaml", local=True)
    seen = Seen(shown._repr_html_())
    assert seen.tags["details"] == len(shown.plan.prompts) == 3
    assert f"{shown.plan.todo:,} to send" in seen.text
    assert os.path.basename(shown.path) in str(shown)  # noqa: PTH119
