"""What a person reads on a terminal of eighty columns, and what a script reads in a pipe. Real processes on a real
pseudo-terminal."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from conftest import COMMAND
from hypothesis import given
from hypothesis import strategies as st
from support import fuzz
from support.durability import HUNG, Slow, Work, environ, prompts, start, wait_for
from support.made_up import SOME
from support.service import Status

from batchgen import commands
from batchgen.checkpoint.reader import Reader
from batchgen.cli import main
from batchgen.cli.watch import follow
from batchgen.runner.status import Status as Look
from batchgen.ui.panel import Panel, PanelLine, Severity, TextBlock
from batchgen.ui.terminal import Screen, cut, display_width, screen, wrap

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ANEW = re.compile(r"\x1b\[(\d+)F\x1b\[J")
WIDTH = 80
LONG = "temperature is too hot for this model; give it a value between 0 and 2, or leave it out altogether"


# arithmetic

words = st.text(st.sampled_from("ab東é\u0301"), min_size=1, max_size=12)


@given(st.lists(words, min_size=1, max_size=30).map(" ".join), st.integers(4, 60), st.sampled_from(["", "  "]))
def test_wrapping_tears_no_word_and_loses_none(line, width, further):
    lines = wrap(line, width, further)
    assert " ".join(part.removeprefix(further) if n else part for n, part in enumerate(lines)) == line
    assert all(display_width(part) <= width or " " not in part.strip() for part in lines)
    for before, after in pairwise(lines):
        assert display_width(f"{before} {after.split()[0]}") > width, "as much as fits stands on each"


@given(st.text(st.sampled_from("ab東é\u0301 "), max_size=60), st.integers(1, 40))
def test_a_cut_line_fits_and_is_the_beginning(line, width):
    shown = cut(line, width)
    assert display_width(shown) <= width
    assert shown == line or (shown.endswith("…") and line.startswith(shown[:-1]))


def test_a_line_of_millions_is_cut_at_once():
    assert cut("\u0301" * 10_000_000, 75).endswith("…")


def terminal_of(width: int) -> tuple[int, int]:
    """Both ends of a pseudo-terminal: ours, and the one that a command gets."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, width))
    return ours, theirs


@pytest.mark.parametrize(
    ("env", "width", "seen"),
    [
        ({"TERM": "xterm"}, 80, Screen(80, colour=True, moves=True)),
        ({"TERM": "xterm"}, 200, Screen(100, colour=True, moves=True)),
        ({"TERM": "xterm"}, 20, Screen(40, colour=True, moves=True)),
        ({"TERM": "xterm"}, 0, Screen(80, colour=True, moves=True)),
        ({"TERM": "xterm", "NO_COLOR": "1"}, 80, Screen(80, colour=False, moves=True)),
        ({"TERM": "xterm", "NO_COLOR": ""}, 80, Screen(80, colour=True, moves=True)),
        ({"TERM": "dumb"}, 80, Screen(80)),
        ({}, 80, Screen(80)),
    ],
    ids=["a terminal", "a wide one", "a narrow one", "one that knows no width", "NO_COLOR", "empty", "dumb", "no TERM"],
)
def test_what_a_stream_leads_to(env, width, seen, monkeypatch):
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    ours, theirs = terminal_of(width)
    with open(ours), open(theirs, "w") as stream:  # noqa: PTH123
        assert screen(stream) == seen


def test_a_pipe_and_a_closed_stream_are_no_screen(tmp_path):
    with (tmp_path / "file").open("w") as file:
        assert screen(file) == Screen()
    assert screen(file) == Screen()


def test_colour_is_ours_alone():
    """What a row holds stays inert where colours are."""
    hostile = "\x1b[32mgood\x1b[0m"
    told = Panel(hostile, hostile, hostile, [PanelLine("failed", hostile, Severity.BAD)]).text(Screen(80, colour=True))
    assert "\x1b[32m" not in told
    assert told.count("\\x1b[32mgood") == 4


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize(("share", "percent"), [(0.0, 0), (308 / 309, 99), (0.995, 99), (1.0, 100)])
def test_a_bar_is_full_once_nothing_is_left(width, share, percent):
    *_, bar = Panel("seo", "running", "", [], share=share).text(Screen(width)).splitlines()
    assert bar.endswith(f" {percent} %")
    assert ("░" not in bar) == (share == 1)
    assert display_width(bar) <= width


def test_a_whole_text_is_whole_in_a_pipe_and_begins_on_a_screen():
    text = "\n".join(f"line {number} " + "word " * 40 for number in range(30))
    panel = Panel("seo row 1", "ok", "", [], texts=(TextBlock("answer", text, is_whole=True),))
    assert [line.removeprefix("  | ") for line in panel.text().splitlines()[3:]] == text.splitlines()
    shown = panel.text(Screen(80)).splitlines()
    assert max(map(display_width, shown)) <= 80
    assert re.fullmatch(r"  \| … \d+ more lines", shown[-1])
    assert len(shown) < 30
    hostile = TextBlock("answer", "\x1b[31mred", is_whole=True)
    assert "\x1b" not in Panel("n", "ok", "", [], texts=(hostile,)).text()


# on a terminal


class Shown:
    """A command on a terminal of eighty columns, and what it said there so far."""

    def __init__(self, *arguments: object, url: str, **env: str) -> None:
        self._ours, theirs = terminal_of(WIDTH)
        self.process = subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**environ(url), "TERM": "xterm", **env},
        )
        os.close(theirs)
        self.said = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError), open(self._ours, "rb", buffering=0) as file:  # noqa: PTH123
            while data := file.read(1 << 16):
                self.said += data.decode(errors="replace").replace("\r\n", "\n")

    def end(self) -> int:
        code = self.process.wait(HUNG)
        self._reader.join(HUNG)
        return code

    @property
    def lines(self) -> list[str]:
        """As they are read: without colour, and only what a bar came to."""
        return [line.rpartition("\r")[2] for line in COLOUR.sub("", self.said).splitlines()]


@pytest.fixture
def server():
    with Slow() as server:
        yield server


def test_a_run_with_failed_rows_fits_and_is_in_colour(job, service):
    path = job([{"id": f"r{n}", "name": f"shelf {n}"} for n in range(3)])
    service.script = lambda n, _: Status(400, body={"tpe": "e", "errors": [{"description": LONG}]}) if n == 2 else None
    shown = Shown("run", path, url=service.url, WRITER_API_KEY=service.key)
    assert shown.end() == 1
    assert max(display_width(line) for line in shown.lines if job.folder.parent.name not in line) <= WIDTH, (
        "no path is torn"
    )
    assert LONG in " ".join(" ".join(shown.lines).split())
    assert "\x1b[31m" in shown.said
    assert "100 % |" in shown.said
    assert "3 of 3 rows" in shown.said
    assert any(line.startswith("  failed    1 row: 1 invalid") for line in shown.lines)
    at = next(n for n, line in enumerate(shown.lines) if "invalid: 400" in line)
    assert [len(line) - len(line.lstrip()) for line in shown.lines[at : at + 2]] == [12, 14]

    plain = Shown("run", path, url=service.url, WRITER_API_KEY=service.key, NO_COLOR="1")
    assert plain.end() == 0
    assert not COLOUR.search(plain.said)


def test_mistakes_stand_under_each_other_on_a_terminal_and_begin_their_lines_in_a_pipe(job, called):
    path = job([{"id": "1", "name": "a"}])
    text = path.read_text(encoding="utf-8")
    path.write_text(f"limits_of_it_all_and_more: {{}}\n{text}\npromt: x\n", encoding="utf-8")
    shown = Shown("plan", path, url="http://127.0.0.1:9")
    assert shown.end() == 2
    assert shown.lines[0].startswith(f"error: {path}:1:1:")
    assert all(line.startswith(" " * 7) for line in shown.lines[1:])
    assert sum(line.startswith(f"       {path}:") for line in shown.lines) == 1
    assert max(display_width(line) for line in shown.lines if str(path) not in line) <= WIDTH, "no path is torn"

    piped = called("plan", path).stderr
    first, second = piped.splitlines()
    assert first.startswith(f"error: {path}:1:1: limits_of_it_all_and_more: unknown key; known here: ")
    assert len(first) > 2 * WIDTH
    assert second.startswith(f"{path}:")
    assert "\x1b" not in piped


def test_names_that_the_locale_cannot_write_end_no_run(job, service, batchgen):
    path = job([{"id": "東京", "name": "東京"}])
    service.script = lambda *_: Status(400)
    ended = batchgen("run", path, env={"PYTHONUTF8": None, "PYTHONIOENCODING": "latin-1"})
    assert ended.returncode == 1, ended.stderr
    assert "\\u6771\\u4eac" in ended.stdout


@pytest.mark.parametrize("command", sorted(main.cli.commands))
def test_every_help_fits_and_has_an_example(command, called):
    said = called(command, "--help").stdout
    assert max(map(len, said.splitlines())) <= WIDTH
    assert re.search(rf"^ +batchgen {command} ", said.partition("\n")[2], re.MULTILINE)


# status --watch


def test_watching_looks_until_the_run_has_ended(tmp_path, server, monkeypatch):
    """Which it does in the middle of the first look: it was not killed."""
    work = Work(tmp_path).write(prompts(12), concurrency=4)
    server.hold(after=4)
    rests: list[float] = []
    with start("run", work.job, "--quiet", url=server.url) as process:
        wait_for(lambda: len(work.answers()) == 4, "four answers")
        look = Reader.attempts_by

        def ends_meanwhile(reader, run):
            counts = look(reader, run)
            server.release()
            process.wait(HUNG)
            return counts

        monkeypatch.setattr(Reader, "attempts_by", ends_meanwhile)
        first, last = commands.watch(work.job, sleep=rests.append)
    assert (first.state, first.done, first.left) == ("running", 4, 8)
    assert (last.state, last.done, last.left, last.rate) == ("finished", 12, 0, None)
    assert len(rests) == 1
    assert rests[0] >= 2


def test_watching_without_a_terminal_says_what_changed(capsys):
    looks = [
        Look("job", "running", 1200, 4, 0, 1196, 8, 2.0, 598.0, "2026-11-23T22:00:00+00:00"),
        Look("job", "running", 1200, 4, 0, 1196, 8, 1.0, 1196.0, "2026-11-23T22:00:00+00:00"),
        Look("job", "finished", 1200, 1199, 1, 0, 1200, None, None, "2026-11-23T22:00:00+00:00"),
    ]
    follow(looks, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "job: running: 1,200 rows: 4 have their text, 0 failed, 1,196 left; 2.0 rows/s, about 10 min left",
        "job: finished: 1,200 rows: 1,199 have their text, 1 failed, 0 left",
    ]
    follow(looks, as_json=True)
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert objects == [dataclasses.asdict(looks[0]), dataclasses.asdict(looks[2])]


def test_watching_on_a_terminal_stays_in_its_place_and_ends_by_ctrl_c(tmp_path, server):
    work = Work(tmp_path).write(prompts(12), concurrency=4)
    server.hold(after=4)
    with start("run", work.job, "--quiet", url=server.url) as process:
        wait_for(lambda: len(work.answers()) == 4, "four answers")
        lines = Shown("status", work.job, "--watch", url=server.url, TERM="dumb")
        stays = Shown("status", work.job, "--watch", url=server.url)
        ends = Shown("status", work.job, "--watch", url=server.url, NO_COLOR="1")
        wait_for(lambda: "8 left" in stays.said and ends.said.count("8 left") == 2, "two looks")
        ends.process.send_signal(signal.SIGINT)
        assert ends.end() == 0
        assert ends.said.endswith("\n\n"), "the shell's prompt begins a line"
        assert process.poll() is None
        server.release()
        assert stays.end() == lines.end() == 0
    assert lines.said.endswith("job: finished: 12 rows: 12 have their text, 0 failed, 0 left\n")
    assert "\x1b" not in lines.said
    before, *pictures = re.split(r"(?=\x1b\[\d+F)", stays.said)
    for picture in pictures:
        assert int(ANEW.match(picture)[1]) == before.count("\n"), "it goes up by what is there"
        before = ANEW.sub("", picture)
    assert "finished" in before
    assert "100 %" in before
    assert "\x1b[32m" in before


def test_nobody_looks_on_any_more(tmp_path, server):
    work = Work(tmp_path).write(prompts(12), concurrency=4)
    server.hold(after=4)
    with start("run", work.job, "--quiet", url=server.url):
        wait_for(lambda: len(work.answers()) == 4, "four answers")
        with start("status", work.job, "--watch", url=server.url) as watching:
            assert "8 left" in watching.stdout.readline()
            watching.stdout.close()
            server.release()
            assert watching.wait(HUNG) == 0
            assert watching.stderr.read() == ""


# completion

BASH = shutil.which("bash")
COMPLETE = """
source <(_BATCHGEN_COMPLETE=bash_source batchgen)
complete -p batchgen >/dev/null || exit 3
COMP_WORDS=(batchgen "$@"); COMP_CWORD=$#
_batchgen_completion batchgen
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def offered(tmp_path):
    """What bash offers for the last of some words, in a folder with jobs."""
    for name in (
        "a.yaml",
        "b.yml",
        "rows.csv",
        ".hidden.yaml",
        "jobs/seo.yaml",
        "jobs/deep/x.yaml",
        "my jobs/m.yaml",
        "out/x.parquet",
        "line\nbreak.yaml",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def ask(*words: str) -> list[str]:
        path = f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(tmp_path / "jobs"), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        command = [BASH, "--norc", "-c", COMPLETE, "bash", *words]
        said = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        assert said.stderr == ""
        return said.stdout.splitlines()

    return ask


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_bash_completes_commands_options_and_jobs(offered):
    assert offered("st") == ["status"]
    assert offered("status", "--w") == ["--watch"]
    assert offered("run", "") == ["a", "b", "jobs/", "my jobs/", "out/", "seo"]
    assert offered("run", "a.") == ["a.yaml"]
    assert offered("run", "se") == ["seo"], "in jobs, too"
    assert offered("run", "--local", "jobs/") == ["jobs/deep/", "jobs/seo.yaml"]
    assert offered("plan", "jo") == ["jobs/deep/", "jobs/seo.yaml"], "the only choice is looked into"
    assert offered("plan", "./a") == ["./a.yaml"]
    assert offered("plan", "~/s") == ["~/seo.yaml"]
    assert offered("plan", ".h") == [".hidden"]
    assert offered("plan", "nowhere/") == [""]


def test_completion_imports_nothing_heavy(tmp_path):
    code = (
        "import sys, os; from batchgen.cli import main as cli\n"
        "try: cli.main()\n"
        "finally: print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    env = {**os.environ, "_BATCHGEN_COMPLETE": "bash_complete", "COMP_WORDS": "batchgen run ", "COMP_CWORD": "2"}
    (tmp_path / "a.yaml").touch()
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert said.stdout == "plain,a\n"
    assert not {"polars", "pyarrow", "aiohttp", "pydantic", "matplotlib", "jinja2", "tqdm", "yaml"} & set(
        said.stderr.split()
    )


# links


@pytest.mark.parametrize(
    ("env", "opens"),
    [
        pytest.param({"TERM": "xterm-256color", "VTE_VERSION": "7600"}, True, id="GNOME"),
        pytest.param({"TERM": "xterm-256color", "VTE_VERSION": "5000"}, False, id="a VTE that crashed"),
        pytest.param({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, True, id="an editor's"),
        pytest.param({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, False, id="Apple's"),
        pytest.param({"TERM": "xterm-kitty"}, True, id="kitty"),
        pytest.param({"TERM": "xterm-256color"}, False, id="one that does not say"),
        pytest.param({"TERM": "dumb", "TERM_PROGRAM": "vscode"}, False, id="dumb"),
        pytest.param({"TERM": "xterm-kitty", "NO_COLOR": "1"}, False, id="NO_COLOR"),
        pytest.param(
            {"TERM": "tmux-256color", "TERM_PROGRAM": "vscode", "TMUX": "/tmp/t,1,0"}, False, id="tmux between"
        ),
    ],
)
def test_paths_open_where_the_terminal_says_that_it_can(env, opens, monkeypatch):
    monkeypatch.setattr(os, "environ", env)
    ours, theirs = terminal_of(WIDTH)
    with open(ours), open(theirs, "w") as stream:  # noqa: PTH123
        assert screen(stream).links == opens


@pytest.mark.parametrize(("program", "opens"), [("vscode", True), ("Apple_Terminal", False)])
def test_paths_of_a_run_open(program, opens, job, service):
    """A real run on a real pseudo-terminal; what is read is the same."""
    path = job([{"id": "1", "name": "a shelf"}], output={"path": "out folder/ö.parquet"})
    shown = Shown("run", path, url=service.url, WRITER_API_KEY=service.key, TERM_PROGRAM=program)
    assert shown.end() == 0
    links = re.findall(r"\x1b\]8;;file://([^/]*)(/[^\x1b]*)\x1b\\([^\x1b]*)\x1b\]8;;\x1b\\", shown.said)
    if not opens:
        assert "\x1b]8" not in shown.said
        return
    results = job.folder / "out folder" / "ö.parquet"
    assert {(host, unquote(target)) for host, target, _ in links} == {(os.uname().nodename, str(results))}
    shown_path = "".join(text for *_, text in links).replace(" ", "")
    assert shown_path.endswith(str(results.relative_to(job.folder.parent)).replace(" ", ""))


LINK = re.compile(r"\x1b\]8;;file://[^/]*(/[^\x1b]*)\x1b\\([^\x1b]*)\x1b\]8;;\x1b\\")


@pytest.mark.parametrize(
    ("command", "options", "file"),
    [
        pytest.param("plan", [], "out/job.parquet", id="where the results will be"),
        pytest.param("export", ["-o", "made/so far.csv"], "made/so far.csv", id="an export"),
        pytest.param("report", ["-o", "made/page.html"], "made/page.html", id="a report"),
        pytest.param("init", ["made/letters"], "made/letters.yaml", id="a new job"),
    ],
)
def test_every_command_links_the_files_that_it_names(command, options, file, job, called, monkeypatch):
    path = job([{"id": "1", "name": "a shelf"}])
    monkeypatch.chdir(job.folder)
    Path("made").mkdir()
    assert called("run", path).returncode == 0
    named = [] if command == "init" else [path]
    shown = Shown(command, *named, *options, url="http://127.0.0.1:9", TERM="xterm-kitty")
    assert shown.end() == 0
    assert str(job.folder / file) in {unquote(target) for target, _ in LINK.findall(shown.said)}


def test_status_links_results_that_were_written_beside():
    beside = Look(
        "seo", "stopped", 2, 1, 0, 1, 1, None, None, "2026-11-29T22:00:00+00:00", "/out/ö/seo.partial.parquet"
    )
    said = beside.panel().text(Screen(80, links=True))
    assert [unquote(target) for target, _ in LINK.findall(said)] == ["/out/ö/seo.partial.parquet"]


def test_links_are_for_terminals_alone(job, batchgen):
    ended = batchgen("run", job([{"id": "1", "name": "x"}]), env={"TERM": "xterm-kitty", "VTE_VERSION": "7600"})
    assert ended.returncode == 0
    assert "\x1b" not in ended.stdout + ended.stderr


# where to begin


def test_the_command_alone_shows_where_to_begin(job, batchgen, tmp_path):
    """A screenful on stderr, and no success: in a script, a command is missing."""
    alone = batchgen()
    assert (alone.returncode, alone.stdout) == (2, "")
    assert "batchgen init --input FILE" in alone.stderr
    here = tmp_path / "elsewhere"
    (here / "jobs").mkdir()
    shutil.copy(job([]), here / "letters.yaml")
    shutil.copy(here / "letters.yaml", here / "jobs" / "seo.yml")
    (here / "compose.yaml").write_text("services: {}\n")
    alone = batchgen()
    assert alone.returncode == 2
    found = alone.stderr.partition("Jobs found here:\n")[2].split("\n\n")[0].split()
    assert found == ["letters", "seo"]
    assert "batchgen run letters --local" in alone.stderr
    lines = alone.stderr.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= WIDTH


@given(st.text(max_size=40))
@SOME
def test_what_a_terminal_is_shown(text):
    fuzz.terminal(text.encode("utf-8", "surrogatepass"))
