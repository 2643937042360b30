"""Endpoints that want to do harm, or are broken beyond measure: each answer fails its own row, or is a fair success,
and never the run; the healthy row beside it has its text. Raw sockets: no server library would send these bytes.
"""

from __future__ import annotations

import asyncio
import codecs
import functools
import gzip
import json
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import POOLS, Jobs, Start
from isal import igzip
from support.connections import connection
from support.pythons import READS_DEEP
from support.service import PATIENCE
from support.wire import (
    CHUNKED,
    EVENTS,
    GOOD,
    KEY,
    QUICK,
    ROWS,
    SSE,
    TOTAL,
    Answer,
    Asked,
    Proxy,
    Wire,
    Writer,
    chunk,
    completion,
    endless,
    http,
    kept,
    says,
    tls,
)

from batchgen.api import outcome as outcomes
from batchgen.api import types
from batchgen.api.client import Client
from batchgen.api.failure_kinds import Kind
from batchgen.api.outcome import Failure
from batchgen.api.pool import TEST_ONLY


def likely(logprob: bytes) -> bytes:
    """An answer of a thousand tokens, of which the last has this log-prob."""
    tokens = b", ".join(b'{"token": "token-%d", "logprob": 0, "top_logprobs": []}' % n for n in range(1000))
    last = b'{"token": "last", "logprob": %s}' % logprob
    return b'{"choices": [{"text": "good", "log_probs": {"content": [%s, %s], "refusal": null}}]}' % (tokens, last)


@functools.cache
def bomb() -> bytes:
    """Takes a moment, which is for those alone who send it."""
    return http(igzip.compress(bytes(1 << 28)), "Content-Encoding: gzip")


async def throws_a_bomb(asked: Asked, writer: Writer) -> None:
    await says(bomb())(asked, writer)


def text(value: str) -> tuple[str, str]:
    return "ok", value


MARKED = SSE + b"data: [DONE]\n\n"
"""A stream with its end mark. Once one had it, no other is whole without."""
UNUSABLE = "failed", "unusable: "
DEEP = ("ok", "good") if READS_DEEP else UNUSABLE
UNANSWERED = "failed", "unanswered: "

# what is answered -> the row's status, and its text or how its error begins
ANSWERS: dict[str, tuple[Answer, tuple[str, str]]] = {
    # encodings that nobody asked for
    "gzip": (says(http(gzip.compress(GOOD), "Content-Encoding: gzip")), text("good")),
    "gzip, not named": (says(http(gzip.compress(GOOD))), UNUSABLE),
    "deflate": (says(http(zlib.compress(GOOD), "Content-Encoding: deflate")), text("good")),
    "br": (says(http(b"\x0b\x15\x80" + GOOD[:9] + b"\x03", "Content-Encoding: br")), UNUSABLE),
    "named gzip, and is not": (says(http(GOOD, "Content-Encoding: gzip")), text("good")),
    "a bomb of gzip": (throws_a_bomb, UNUSABLE),
    # bodies that were cut
    "shorter than its length": (says(http(GOOD, f"Content-Length: {len(GOOD) + 1}", length=False)), text("good")),
    "whole JSON, and a length beyond it": (says(http(GOOD, "Content-Length: 9999", length=False)), text("good")),
    "chunks without the last": (says(CHUNKED + chunk(GOOD)), text("good")),
    "a length beyond it, cut within": (says(http(GOOD[:-1], "Content-Length: 9999", length=False)), UNANSWERED),
    "gzip, and a length beyond it": (says(http(gzip.compress(GOOD), "Content-Encoding: gzip", "Content-Length: 9999", length=False)), UNANSWERED),
    "events in chunks without the last, and their end mark": (says(CHUNKED + chunk(MARKED)), text("once")),
    "cut within a chunk": (says(CHUNKED + chunk(GOOD)[:-10]), UNANSWERED),
    "cut within a chunk's size": (says(CHUNKED + b"4"), UNANSWERED),
    "no length, cut within JSON": (says(http(GOOD[:-2], length=False)), UNUSABLE),
    "no length, whole": (says(http(GOOD, length=False)), text("good")),
    "no length, nothing": (says(http(b"", length=False)), UNUSABLE),
    "nothing of a length": (says(http(b"")), UNUSABLE),
    "events cut within one": (says(http(SSE[:-8], EVENTS, length=False)), UNUSABLE),
    "events cut within a name": (says(http(SSE + b"dat", EVENTS, length=False)), UNUSABLE),
    "events cut within the end mark": (says(http(SSE + b"data: [DO", EVENTS, length=False)), UNUSABLE),
    "events in chunks, cut between them": (says(CHUNKED + chunk(SSE)), UNANSWERED),
    "events in pieces": (says(http(b"", EVENTS, length=False), *(MARKED[n : n + 1] for n in range(len(MARKED)))), text("once")),
    "a chunk for each byte": (says(CHUNKED, *(chunk(GOOD[n : n + 1]) for n in range(len(GOOD))), b"0\r\n\r\n"), text("good")),
    # what never ends
    "a drip": (endless(http(b"", length=False), b" ", every=1), UNANSWERED),
    "a drip of a status line": (endless(b"HTTP/1.1 200 O", b"K", every=1), UNANSWERED),
    "a body that stops": (says(http(GOOD, "Content-Length: 9999", length=False), close=False), text("good")),
    "no answer": (says(close=False), UNANSWERED),
    "passing statuses without an end": (endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n", every=0.02), UNANSWERED),
    "passing statuses in floods": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, every=0.1), UNANSWERED),
    "comments for events without an end": (endless(http(b"", EVENTS, length=False), b": ping\n\n", every=0.2), UNANSWERED),
    # headers
    "headers of 60 kB": (says(http(GOOD, "X: " + "x" * 60_000)), text("good")),
    "300 headers": (says(http(GOOD, *(f"X-{n}: {n}" for n in range(300)))), text("good")),
    "thousands of headers": (says(http(GOOD, *(f"X-{n}: {n}" for n in range(5000)))), UNANSWERED),
    "headers without an end": (endless(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1000), UNANSWERED),
    "a header line without an end": (endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536), UNANSWERED),
    "a status line without an end": (endless(b"HTTP/1.1 200 ", b"x" * 65536), UNANSWERED),
    "a header of controls": (says(http(GOOD, "X: \x1b[2J\x07")), text("good")),
    "a header in Latin-1": (says(http(GOOD, "X: caf\xe9")), text("good")),
    "a header cut by NUL": (says(http(GOOD, "X: a\x00b")), UNANSWERED),
    "a folded header": (says(http(GOOD, "X: a\r\n b")), text("good")),
    "a charset nobody knows": (says(http(GOOD, "Content-Type: application/json; charset=nonsense")), text("good")),
    "a broken content type": (says(http(GOOD, "Content-Type: ;;;=//")), text("good")),
    "no content type": (says(http(GOOD)), text("good")),
    "called a page, and is an answer": (says(http(GOOD, "Content-Type: text/html")), text("good")),
    "a page": (says(http(b"<html>hello</html>", "Content-Type: text/html")), UNUSABLE),
    "a page that is called an answer": (says(http(b"<html>hello</html>", "Content-Type: application/json")), UNUSABLE),
    # lengths that lie
    "a negative length": (says(http(GOOD, "Content-Length: -1", length=False)), UNANSWERED),
    "a huge length": (says(http(GOOD, f"Content-Length: {2**63}", length=False)), text("good")),
    "a length beyond all bounds": (says(http(GOOD, f"Content-Length: {'9' * 5000}", length=False)), UNANSWERED),
    "two lengths": (says(http(GOOD, "Content-Length: 5")), UNANSWERED),
    "a length that is a word": (says(http(GOOD, "Content-Length: many", length=False)), UNANSWERED),
    "a length and chunks": (says(CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + chunk(GOOD) + b"0\r\n\r\n"), UNANSWERED),
    "more after the end": (says(http(GOOD) + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), UNANSWERED),
    "two answers": (says(kept(GOOD) + kept(completion("nobody's"))), text("good")),
    "a chunk's size that is a word": (says(CHUNKED + b"zz\r\n" + GOOD), UNANSWERED),
    "a chunk's size beyond all bounds": (says(CHUNKED + b"f" * 40 + b"\r\n" + GOOD), UNANSWERED),
    "a chunk's size without an end": (endless(CHUNKED, b"0" * 65536, every=0.1), UNANSWERED),
    "trailers without an end": (endless(CHUNKED + chunk(GOOD[:-1]) + b"0\r\n", b"X-A: b\r\n" * 1000), UNANSWERED),
    # JSON
    "deep": (says(http(b'{"choices": [{"text": "good"}], "x": ' + b"[" * 100_000)), UNUSABLE),
    "deep, and closed": (says(http(b'{"choices": [{"text": "good"}], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")), DEEP),
    "deep in objects": (says(http(b'{"x":' * 100_000)), UNUSABLE),
    "a number of ten thousand digits": (says(http(completion("good")[:-1] + b', "x": ' + b"9" * 10_000 + b"}")), text("good")),
    "a log-prob of ten thousand digits": (
        says(http(b'{"choices": [{"text": "a", "log_probs": {"content": [{"token": "a", "logprob": ' + b"9" * 10_000 + b"}]}}]}")), text("a")
    ),
    "1e999": (says(http(b'{"choices": [{"text": "a", "log_probs": {"content": [{"token": "a", "logprob": 1e999}]}}]}')), text("a")),
    "NaN": (says(http(b'{"choices": [{"text": "good"}], "x": NaN}')), text("good")),
    "invalid UTF-8": (says(http(b'{"choices": [{"text": "\xc3\x28"}]}')), UNUSABLE),
    "overlong UTF-8": (says(http(b'{"choices": [{"text": "\xc0\xaf"}]}')), UNUSABLE),
    "surrogates in UTF-8": (says(http(b'{"choices": [{"text": "\xed\xa0\x80"}]}')), UNUSABLE),
    "a lone surrogate": (says(http(b'{"choices": [{"text": "\\ud800"}]}')), text("\ufffd")),
    "repeated keys": (says(http(b'{"choices": [{"text": "bad"}], "choices": [{"text": "good"}]}')), text("good")),
    "NUL": (says(http(completion("a\x00b"))), text("a\x00b")),
    "UTF-16": (says(http(GOOD.decode().encode("utf-16"))), UNUSABLE),
    "blanks before": (says(http(b"\r\n\t  " + GOOD + b"\n")), text("good")),
    "a byte order mark before": (says(http(codecs.BOM_UTF8 + GOOD)), text("good")),
    "blanks alone": (says(http(b" " * 100_000)), UNUSABLE),
    "an empty text": (says(http(completion(""))), text("")),
    "active text": (says(http(completion("\x1b[2J\u202e\x9b31m"))), text("\x1b[2J\u202e\x9b31m")),
    # log-probs too long to be checked when they come: the text is there all the same
    "long log-probs, not numbers": (says(http(likely(b'"x"'))), text("good")),
    "long log-probs, 1e999": (says(http(likely(b"1e999"))), text("good")),
    "long log-probs, of ten thousand digits": (says(http(likely(b"9" * 10_000))), text("good")),
    "long log-probs, not closed": (says(http(likely(b"0")[:-9])), UNUSABLE),
    "long log-probs, deep": (says(http(likely(b"[" * 100_000 + b"]" * 100_000))), DEEP),
    "long log-probs, not UTF-8": (says(http(likely(b"0").replace(b"token-7", b"token\xff"))), text("good")),
    "long log-probs, of another kind": (says(http(likely(b"0").replace(b'{"token"', b'5, {"token"'))), text("good")),
    "long log-probs, repeated": (says(http(likely(b"0").replace(b'"refusal": null', b'"content": [], "refusal": null'))), text("good")),
    # no HTTP
    "HTTP/0.9": (says(GOOD), UNANSWERED),
    "garbage": (says(bytes(range(256)) * 4), UNANSWERED),
    "TLS on a plain port": (says(b"\x15\x03\x01\x00\x02\x02\x28"), UNANSWERED),
    "HTTP/2": (says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"), UNANSWERED),
    "HTTP/9.9": (says(b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n{}"), UNANSWERED),
    "a status of no number": (says(http(GOOD, status="two hundred")), UNANSWERED),
    "a request for an answer": (says(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), UNANSWERED),
    "nothing at all": (says(), UNANSWERED),
}  # fmt: skip


@dataclass(frozen=True)
class Night:
    """One run over all of them, and what it left."""

    rows: dict[str, dict[str, object]]
    returncode: int
    stdout: str
    stderr: str
    heads: list[bytes] = field(repr=False)


def command(folder: Path) -> Iterator[Start]:
    started = Start({"WRITER_API_KEY": KEY}, folder)
    yield started
    started.end()


@pytest.fixture(scope="module", params=POOLS)
def night(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Night]:
    folder = tmp_path_factory.mktemp("hostile")
    job = Jobs(folder)
    bomb()  # while nobody waits for an answer
    names = [name for hostile in ANSWERS for name in (hostile, f"{hostile}'s neighbour")]
    path = job(
        [{"id": str(n), "name": name} for n, name in enumerate(names)],
        kind="ndjson",
        limits={"concurrency": 64},
        retry={"attempts": 1},
        timeout={"connect": TOTAL, "total": TOTAL},
    )
    with Wire({name: answer for name, (answer, _) in ANSWERS.items()}) as wire:
        for start in command(folder):
            env = {"WRITER_BASE_URL": wire.url, TEST_ONLY: request.param}
            process = start("run", path, "-v", "--json", env=env)
            stdout, stderr = process.communicate(timeout=20 * PATIENCE)
        rows = {str(row["name"]): row for row in job.rows()}
        yield Night(rows, process.returncode, stdout, stderr, wire.heads)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_worth_what_it_is_worth_and_harms_nobody_else(name, night):
    row, neighbour = night.rows[name], night.rows[f"{name}'s neighbour"]
    status, said = ANSWERS[name][1]
    if status == "ok":
        assert (row["status"], row["text"]) == ("ok", said), row["error"]
    else:
        assert (row["status"], row["text"]) == (status, None)
        assert str(row["error"]).startswith(said)
    assert (neighbour["status"], neighbour["text"]) == ("ok", f"about {neighbour['name']}"), neighbour["error"]


def test_the_run_is_over_and_says_so_in_its_own_words(night):
    """No traceback, no library's warning, and nothing active: each line of the log is the run's own."""
    failed = sum(status == "failed" for _, (status, _) in ANSWERS.values())
    assert night.returncode == 1
    assert json.loads(night.stdout)["failed"] == failed
    lines = night.stderr.splitlines()
    assert [line for line in lines if line[2:3] != ":" or line[5:6] != ":"] == []
    assert not set(night.stdout + night.stderr) & set("\x1b\x9b\u202e\x00\x07")


@pytest.mark.usefixtures("each_pool")
async def test_an_encoding_that_nobody_asked_for_is_named_where_the_body_cannot_be_read():
    with Wire() as wire:
        wire.default = says(http(b"\x28\xb5\x2f\xfd\x00", "Content-Encoding: zstd"))
        async with Client(connection(wire.url)) as client:
            outcome = await client.attempt(b'{"prompt": "x"}', "m")
    assert isinstance(outcome, Failure)
    assert outcome.message.endswith(" (Content-Encoding: zstd)")


@pytest.mark.usefixtures("each_pool")
@pytest.mark.parametrize("turns", [20, 0], ids=["which the loop has read", "which the loop has not read yet"])
async def test_a_late_second_answer_is_nobodys(turns: int):
    """A server that loses count answers twice: what lies in a connection before it is used again is no answer."""
    late, twice = threading.Event(), threading.Event()

    async def answer(asked: Asked, writer: Writer) -> None:
        writer.write(kept(completion(f"about {asked.name}")))
        if asked.name == "one":
            await writer.drain()
            await asyncio.to_thread(late.wait, PATIENCE)
            writer.write(kept(completion("nobody's")))
            await writer.drain()
            twice.set()

    with Wire({}) as wire:
        wire.default = answer
        async with Client(connection(wire.url)) as client:
            first = await client.attempt(b'{"prompt": "Write about one."}', "m")
            late.set()
            assert twice.wait(PATIENCE)  # the loop stands still meanwhile
            for _ in range(turns):
                await asyncio.sleep(0)  # the loop reads what has come
            second = await client.attempt(b'{"prompt": "Write about two."}', "m")
    assert read(first) == "about one"
    assert read(second) == "about two"


def read(outcome: outcomes.Answer | Failure) -> str:
    assert isinstance(outcome, outcomes.Answer), outcome
    return types.read_answer(outcome.body).choices[0].text


# what everyone is told at once


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    yield from command(tmp_path)


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


def ended(process: subprocess.Popen[str]) -> Ended:
    stdout, stderr = process.communicate(timeout=20 * PATIENCE)
    return Ended(process.returncode, stdout, stderr)


@pytest.mark.usefixtures("each_pool")
@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"])  # fmt: skip
@pytest.mark.parametrize("where", ["http", "//", "javascript:alert(1)", "\x1b[2J", ""], ids=["address", "host", "script", "escape", "none"])  # fmt: skip
async def test_no_redirect_is_followed(status, where):
    with Wire() as elsewhere, Wire() as wire:
        location = {"http": f"{elsewhere.url}/v1/completions", "//": f"//127.0.0.1:{elsewhere.port}/"}.get(where, where)
        wire.default = says(http(b"", f"Location: {location}", status=status))
        async with Client(connection(wire.url)) as client:
            outcome = await client.attempt(b'{"prompt": "x"}', "m")
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.status) == (Kind.MISDIRECTED, int(status[:3]))
        assert elsewhere.opened == 0
        assert len(wire.heads) == 1


@pytest.mark.usefixtures("each_pool")
def test_no_cookie_is_kept(job, start):
    """Nor talked about: a cookie that is none is no matter for the log."""
    cookies = [
        "Set-Cookie: session=abc; Path=/",
        "Set-Cookie: a b=c",
        "Set-Cookie: \x1b[2J=1",
        f"Set-Cookie: {KEY},=1; Max-Age=x",
    ]

    async def baked(asked: Asked, writer: Writer) -> None:
        writer.write(http(completion(f"about {asked.name}"), *cookies).replace(b"Connection: close\r\n", b""))

    with Wire() as wire:
        wire.default = baked
        said = ended(start("run", job(ROWS, **QUICK), "--quiet", env={"WRITER_BASE_URL": wire.url}))
    assert (said.returncode, said.stderr) == (0, "")
    assert len(wire.heads) == len(ROWS)
    assert not any(b"cookie" in head.lower() for head in wire.heads)


# memory

PEAK = """
import sys
from batchgen.__main__ import main
from batchgen.send import retry
retry.MIN_PATIENCE = 1.0
try:
    main()
finally:
    with open("/proc/self/status", encoding="utf-8") as file:
        print(next(line for line in file if line.startswith("VmHWM:")).split()[1], file=sys.stderr)
"""
WITHOUT_END = endless(CHUNKED, chunk(b" " * (1 << 20)))
AS_LARGE_AS_MAY_BE = says(http(b'{"choices": [{"text": "' + b"x" * (60 << 20) + b'"}]}'))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("pool", "answer", "end"),
    [
        pytest.param("connection", WITHOUT_END, (24, 4, 700), id="without an end"),
        pytest.param("session", WITHOUT_END, (24, 4, 700), id="without an end, the other way to POST"),
        pytest.param("connection", AS_LARGE_AS_MAY_BE, (8, 0, 1000), id="as large as may be"),
    ],
)
def test_answers_beyond_measure_on_every_slot_take_little_memory(job, tmp_path, pool, answer, end):
    """While they are read, kept, and published."""
    rows, code, megabytes = end
    asked = [{"id": str(n), "name": f"row {n}"} for n in range(rows)]
    path = job(
        asked,
        limits={"concurrency": rows},
        retry={"attempts": 1, "max_wait": 0.1},
        timeout={"total": 4 * PATIENCE},
    )
    with Wire() as wire:
        wire.default = answer
        env = {"HOME": str(tmp_path), "WRITER_API_KEY": KEY, "WRITER_BASE_URL": wire.url, TEST_ONLY: pool}
        done = subprocess.run(
            [sys.executable, "-c", PEAK, "run", path, "--quiet"],
            capture_output=True,
            text=True,
            check=False,
            timeout=20 * PATIENCE,
            env={**os.environ, **env},
        )
    assert done.returncode == code, done.stderr
    assert pq.ParquetFile(job.output).metadata.num_rows == rows
    assert int(done.stderr.split()[-1]) / 1024 < megabytes


# certificates


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("pair", "trusted", "code"),
    [
        pytest.param("good", "ca.pem", 0, id="an authority of the job's own"),
        pytest.param("own", "own.pem", 0, id="self-signed, and trusted by name"),
        pytest.param("own", None, 4, id="self-signed"),
        pytest.param("good", None, 4, id="an authority nobody knows"),
        pytest.param("good", "own.pem", 4, id="another authority"),
        pytest.param("stranger", "ca.pem", 4, id="another host's"),
    ],
)
def test_a_certificate_is_verified(job, called, certificates, pair, trusted, code):
    endpoint = {} if trusted is None else {"ca_file": str(certificates / trusted)}
    with Wire(tls=tls(certificates / f"{pair}.pem")) as wire:
        path = job(ROWS, **QUICK, endpoint={"url": wire.url, **endpoint})
        said = called("run", path)
    assert said.returncode == code, said.stderr
    if code:
        assert "nothing gets through: the server's certificate is not trusted" in said.stdout
        assert "nothing sent" in said.stdout
        assert wire.heads == [], "a key was sent to a stranger"
        assert {row["status"] for row in job.rows()} == {"pending"}
    else:
        assert [row["text"] for row in job.rows()] == [f"about {row['name']}" for row in ROWS]
    assert "Traceback" not in said.stderr
    assert "SSL" not in said.stderr


def test_the_environment_turns_no_verification_off(job, start, certificates):
    with Wire(tls=tls(certificates / "own.pem")) as wire:
        path = job(ROWS, **QUICK, endpoint={"url": wire.url})
        said = ended(start("run", path, env={"PYTHONHTTPSVERIFY": "0"}))
    assert (said.returncode, wire.heads) == (4, []), said.stderr


# proxies


def test_the_environments_proxies_are_not_used(job, start):
    with Wire() as wire, Proxy() as proxy:
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        env = {**dict.fromkeys(names, proxy.url), "NO_PROXY": "", "WRITER_BASE_URL": wire.url}
        said = ended(start("run", job(ROWS, **QUICK), env=env))
    assert said.returncode == 0, said.stderr
    assert (proxy.opened, len(wire.heads)) == (0, len(ROWS))


@pytest.mark.usefixtures("each_pool")
def test_the_jobs_proxy_is_a_tunnel_that_sees_no_key(job, start, certificates):
    with Wire(tls=tls(certificates / "good.pem")) as wire, Proxy() as proxy:
        endpoint = {"url": wire.url, "ca_file": str(certificates / "ca.pem"), "proxy": proxy.url}
        said = ended(start("run", job(ROWS, **QUICK, endpoint=endpoint)))
    assert said.returncode == 0, said.stderr
    assert [row["text"] for row in job.rows()] == [f"about {row['name']}" for row in ROWS]
    assert {head.split(b"\r\n")[0] for head in proxy.connects} == {b"CONNECT 127.0.0.1:%d HTTP/1.1" % wire.port}
    assert KEY.encode() not in b"".join(proxy.connects)


@pytest.mark.usefixtures("each_pool")
@pytest.mark.parametrize(
    ("refusal", "end"),
    [
        pytest.param(http(b"no", status="502 Bad Gateway"), (3, "unsent: the proxy refuses: 502 Bad Gateway"), id="502"),
        pytest.param(http(b"no", status="403 Filtered"), (4, "nothing gets through: the proxy refuses: 403 Filtered: check endpoint.proxy"), id="403"),
        pytest.param(http(b"", status="404 Not Found"), (4, "the proxy refuses: 404 Not Found: check endpoint.proxy"), id="a web server"),
        pytest.param(http(b"", status="401 Unauthorized"), (4, "the proxy wants a user name"), id="a wrong password, as tinyproxy has it"),
        pytest.param(http(b"", "Location: http://127.0.0.1:9/", status="302 Found"), (4, "the proxy refuses: 302"), id="302"),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", (4, "what endpoint.proxy names is no proxy"), id="no proxy at all"),
    ],
)  # fmt: skip
def test_a_proxy_that_refuses_costs_nothing(job, called, impatient, certificates, refusal, end):
    """What did not get past the proxy was never sent, and is not billed. Waiting helps only where the proxy says that
    it cannot reach the server."""
    with Wire(tls=tls(certificates / "good.pem")) as wire, Proxy(refusal) as proxy:
        endpoint = {"url": wire.url, "ca_file": str(certificates / "ca.pem"), "proxy": proxy.url}
        quick = {**QUICK, "retry": {"attempts": 1, "max_wait": 0.1}}
        said = called("run", job(ROWS[:2], **quick, endpoint=endpoint), "--json")
    code, error = end
    assert said.returncode == code, said.stderr
    assert wire.opened == 0
    assert error in said.json["stopped"]
    assert (said.json["sent"], said.json["possibly_billed"], said.json["failed"]) == (0, 0, 0), "no row is blamed"
    assert {row["attempts"] for row in job.rows()} <= {0, None}


@pytest.mark.usefixtures("each_pool")
def test_a_proxy_that_refuses_amid_answers_is_waited_for(job, start, certificates):
    with Wire(tls=tls(certificates / "good.pem")) as wire, Proxy() as proxy:
        wire.default = says(http(completion("about"), "Connection: close"))  # so that each request connects anew
        proxy.refuses = lambda asked: http(b"", status="403 Forbidden") if 2 < asked < 12 else b""
        endpoint = {"url": wire.url, "ca_file": str(certificates / "ca.pem"), "proxy": proxy.url}
        said = ended(start("run", job(ROWS, limits={"concurrency": 2}, endpoint=endpoint)))
    assert said.returncode == 0, said.stderr
    assert {row["status"] for row in job.rows()} == {"ok"}


def test_a_proxy_is_refused_where_the_key_would_pass_it_in_the_clear(job, start):
    with Wire() as wire, Proxy() as proxy:
        said = ended(start("run", job(ROWS, **QUICK, endpoint={"url": wire.url, "proxy": proxy.url})))
    assert said.returncode == 2
    assert "endpoint.proxy" in said.stderr
    assert (wire.opened, proxy.opened) == (0, 0)
