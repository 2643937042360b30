"""The key goes into the request's header and nowhere else: not into what a run prints, nor into what it leaves
behind, in no encoding, however it ends. And it comes from where it is safe, or not at all.
"""

from __future__ import annotations

import base64
import html
import html.entities
import json
import os
import re
import signal
import socket
import sqlite3
import struct
import traceback
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.service import PATIENCE
from support.wire import (
    CHUNKED,
    QUICK,
    ROWS,
    Answer,
    Asked,
    Proxy,
    Wire,
    Writer,
    chunk,
    completion,
    endless,
    fine,
    http,
    says,
    tls,
)

from batchgen.api.client import Client
from batchgen.api.credentials import Redactor, read_key
from batchgen.api.failure_kinds import Kind
from batchgen.api.outcome import Failure
from batchgen.errors import UsageError
from batchgen.job.load import read_job
from batchgen.runner.opening import OpenedJob
from batchgen.runner.prepare import connection_of, key_of, prepare
from batchgen.runner.run import Runner
from batchgen.runner.signals import Signals
from batchgen.send.engines import local
from batchgen.send.limits import Budget

CANARY = "sk-canary/7f3a+91c2==e4%5b&<d8>"
"""No two encodings of it are alike."""


def spellings(key: str) -> dict[str, bytes]:
    """The key in every encoding that a log or a library may choose."""
    raw = key.encode()
    plain = {
        "as it is": raw,
        "reversed": raw[::-1],
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "hex with spaces": raw.hex(" ").encode(),
        "URL": urllib.parse.quote(key, safe="").encode(),
        "URL, slashes kept": urllib.parse.quote(key).encode(),
        "form": urllib.parse.quote_plus(key).encode(),
        "HTML": html.escape(key).encode(),
        "JSON, slashes escaped": json.dumps(key)[1:-1].replace("/", "\\/").encode(),
        "UTF-16": key.encode("utf-16-le"),
    }
    for shift in range(3):  # base64 has a spelling for each place of a text within another
        whole = base64.b64encode(b"\0" * shift + raw)
        inner = whole[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        plain[f"base64, {shift}"] = inner
        plain[f"base64url, {shift}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    return plain


def found(data: bytes, key: str = CANARY) -> list[str]:
    """In which encodings the key, or its telling half, stands in the data."""
    return [how for part in (key, key[3:18]) for how, spelt in spellings(part).items() if spelt in data]


def unfolded(path: Path) -> Iterator[bytes]:
    """What a file holds: as it stands, and where it is compressed, as it was."""
    yield path.read_bytes()
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        yield repr((file.schema_arrow.metadata, file.metadata.metadata, file.read().to_pylist())).encode()
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            for table in ("attempts", "runs"):
                yield repr(db.execute(f"SELECT * FROM {table}").fetchall()).encode()
            for size, body in db.execute("SELECT size, body FROM bodies"):
                yield body if size is None else pa.decompress(body, size, codec="lz4", asbytes=True)


def assert_nowhere(*places: str | Path, but: Path | None = None) -> None:
    """Texts that were printed, and folders."""
    for place in places:
        if isinstance(place, str):
            assert found(place.encode()) == [], place
            continue
        for path in place.rglob("*"):
            assert found(str(path).encode()) == []
            if path.is_file() and path != but and path.suffix not in (".pem", ".key"):
                with closing(unfolded(path)) as held:
                    assert [found(data) for data in held if found(data)] == [], path


@pytest.mark.parametrize("how", spellings(CANARY))
def test_the_search_finds_what_is_hidden(how):
    for before in ("", "a", "ab", "Bearer "):
        text = before + CANARY + "!"
        assert found(spellings(text)[how])


def test_the_search_looks_into_every_file_of_a_run(tmp_path):
    said = completion("x" * 3000 + CANARY)
    pq.write_table(pa.table({"a": [CANARY] * 100}), tmp_path / "a.parquet")
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as db:
        db.execute("CREATE TABLE attempts (x)")
        db.execute("CREATE TABLE runs (x)")
        db.execute("CREATE TABLE bodies (size, body)")
        db.execute("INSERT INTO bodies VALUES (?, ?)", (len(said), pa.compress(said, codec="lz4", asbytes=True)))
        db.commit()
    assert all(any(map(found, unfolded(tmp_path / name))) for name in ("a.parquet", "a.sqlite"))


# every way a run can end


def echoes(status: str, spell, *, length: bool = True) -> Answer:
    """An answer that says what it was sent, as debug pages do."""

    async def answer(asked: Asked, writer: Writer) -> None:
        sent = next(line for line in asked.head.decode().split("\r\n") if line.startswith("Authorization"))
        writer.write(http(spell(sent), status=status, length=length))
        writer.close()

    return answer


def described(sent: str) -> bytes:
    return json.dumps({"tpe": sent, "errors": [{"description": f"you sent {sent}", "key": sent}]}).encode()


def escaped(sent: str) -> bytes:
    """As encoders that trust no character write JSON."""
    spelt = "".join(f"\\u{ord(c):04x}" for c in sent)
    return f'{{"tpe": "BadRequest", "errors": [{{"description": "{spelt}", "key": null}}]}}'.encode()


def slashed(sent: str) -> bytes:
    return described(sent).replace(b"/", b"\\/")


def dumped(sent: str) -> bytes:
    return f"<pre>{html.escape(sent)}</pre><a href='?{urllib.parse.quote(sent)}'>{sent}</a>".encode()


def decorated(sent: str) -> bytes:
    """Over more than one would show of a body."""
    return b"x" * 290 + sent.encode()


def names(status: str, head: str) -> Answer:
    """An answer with the key in a header that a message quotes."""

    async def answer(asked: Asked, writer: Writer) -> None:
        writer.write(http(b"", f"{head}{key_in(asked)}", status=status))

    return answer


def key_in(asked: Asked) -> str:
    return asked.head.split(b"Bearer ")[1].split(b"\r\n")[0].decode()


async def headed(asked: Asked, writer: Writer) -> None:
    key = key_in(asked)
    heads = (f"Set-Cookie: {key}=1", f"Set-Cookie: {key},x=1", f"X-Echo: {key}", f"Retry-After: {key}")
    writer.write(http(key.encode(), *heads, status=f"500 {key}"))


async def misheaded(asked: Asked, writer: Writer) -> None:
    """What the parser refuses, it may quote."""
    key = key_in(asked)
    writer.write(f"HTTP/1.1 200 OK\r\nX{key} : \x00{key}\r\n\r\n".encode())


async def reset(_: Asked, writer: Writer) -> None:
    plug = writer.get_extra_info("socket")
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def beside(sent: str) -> bytes:
    """A good answer, and in it what is nobody's business."""
    return completion("good", headers={"authorization": sent})


ENDS: dict[str, tuple[Answer, int]] = {
    "answered": (fine, 0),
    "answered, and the headers beside the answer": (echoes("200 OK", beside), 0),
    "answered, and the headers beside a long answer": (echoes("200 OK", lambda sent: beside(sent) + b" " * 5000), 0),
    "200 that is no answer": (echoes("200 OK", str.encode), 1),
    "200 that is an event, and none": (echoes("200 OK", lambda sent: b"data: " + json.dumps({"value": 1, "x": sent}).encode() + b"\n\n"), 1),
    "200 with an encoding that is none": (names("200 OK", "Content-Encoding: "), 1),
    "302": (names("302 Found", "Location: /login?key="), 4),
    "200 cut": (echoes("200 OK", lambda sent: beside(sent)[:-3], length=False), 1),
    "400": (echoes("400 Bad Request", described), 1),
    "400, escaped": (echoes("400 Bad Request", escaped), 1),
    "400, slashes escaped": (echoes("400 Bad Request", slashed), 1),
    "400, as a page": (echoes("400 Bad Request", dumped), 1),
    "400, at the edge of what is shown": (echoes("400 Bad Request", decorated), 1),
    "400, in base64": (echoes("400 Bad Request", lambda sent: base64.b64encode(sent.encode())), 1),
    "400, in hex": (echoes("400 Bad Request", lambda sent: sent.encode().hex().encode()), 1),
    "401": (echoes("401 Unauthorized", described), 4),
    "401, escaped": (echoes("401 Unauthorized", escaped), 4),
    "403": (echoes("403 Forbidden", dumped), 4),
    "404": (echoes("404 Not Found", dumped), 4),
    "429": (echoes("429 Too Many Requests", described), 3),
    "500": (echoes("500 Oops", described), 3),
    "500 in all headers": (headed, 3),
    "headers that are none": (misheaded, 3),
    "reset": (reset, 3),
    "cut": (says(CHUNKED + chunk(b'{"choices')), 3),
    "hang": (endless(CHUNKED, chunk(b" "), every=0.2), 3),
}  # fmt: skip


@pytest.fixture
def command(called, job, tmp_path):
    """Runs a command with the canary for a key; what it said."""

    def run(*arguments: object, url: str | None, **env: str | None):
        pointing = {"WRITER_BASE_URL": url, "WRITER_API_KEY": CANARY, "HOME": str(tmp_path / "home")}
        return called(*arguments, env=pointing | env)

    (tmp_path / "home").mkdir()
    return run


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("end", ENDS)
def test_the_key_is_nowhere_however_a_row_ends(end, command, job, tmp_path):
    answer, code = ENDS[end]
    with Wire() as wire:
        wire.default = answer
        path = job(
            ROWS[:1],
            retry={"attempts": 1, "max_wait": 0.01},
            limits={"concurrency": 1, "requests_per_minute": 1e6},
            timeout={"total": 1},
        )
        ended = command("run", path, "-v", "--json", url=wire.url)
        assert ended.returncode == code, ended.stderr
        assert any(f"Authorization: Bearer {CANARY}".encode() in head for head in wire.heads)
        others = [
            command("export", path, "-o", job.folder / "out.csv", url=wire.url),
            command("status", path, "--json", url=wire.url),
            command("plan", path, "--json", url=wire.url),
        ]
    assert {other.returncode for other in others} == {0}
    assert (job.folder / "out.csv").exists()
    assert list((tmp_path / "home").rglob("*")), "the folder where runs meet is looked into"
    assert_nowhere(*(text for said in (ended, *others) for text in (said.stdout, said.stderr)), tmp_path)


def test_the_key_does_not_follow_a_redirect(command, job, tmp_path):
    with Wire() as elsewhere, Wire() as wire:
        wire.default = says(http(b"", f"Location: {elsewhere.url}/v1/completions", status="302 Found"))
        ended = command("run", job(ROWS, **QUICK), "-v", "--json", url=wire.url)
    assert ended.returncode == 4
    assert (elsewhere.opened, elsewhere.heads) == (0, [])
    assert_nowhere(ended.stdout, ended.stderr, tmp_path)


def test_a_stranger_gets_no_key(command, job, tmp_path, certificates):
    with Wire(tls=tls(certificates / "own.pem")) as wire:
        ended = command("run", job(ROWS, **QUICK), "-v", "--json", url=wire.url)
    assert (ended.returncode, wire.heads) == (4, [])
    assert_nowhere(ended.stdout, ended.stderr, tmp_path)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("refuses", [True, False], ids=["refuses", "serves"])
def test_a_proxy_gets_no_key(command, job, tmp_path, certificates, refuses):
    refusal = http(b"", status="407 Proxy Authentication Required") if refuses else b""
    with Wire(tls=tls(certificates / "good.pem")) as wire, Proxy(refusal) as proxy:
        endpoint = {"ca_file": str(certificates / "ca.pem"), "proxy": proxy.url}
        ended = command("run", job(ROWS[:2], **QUICK, endpoint=endpoint), "-v", "--json", url=wire.url)
    assert ended.returncode == (4 if refuses else 0), ended.stderr
    assert proxy.connects
    assert found(b"".join(proxy.connects)) == []
    assert_nowhere(ended.stdout, ended.stderr, tmp_path)


@pytest.mark.usefixtures("impatient")
def test_nobody_listens(command, job, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ended = command("run", job(ROWS[:2], **QUICK), "-v", "--json", url=f"http://127.0.0.1:{port}")
    assert ended.returncode == 3
    assert_nowhere(ended.stdout, ended.stderr, tmp_path)


@pytest.mark.parametrize(
    ("trouble", "code"), [("damaged", 5), ("foreign", 5), ("a folder for a result", 2), ("no folder", 2)]
)
def test_a_machine_that_refuses(trouble, code, command, job, tmp_path):
    path = job(ROWS, **QUICK, output={"path": "/dev/null/x.parquet" if trouble == "no folder" else "out/job.parquet"})
    job.checkpoint.parent.mkdir(parents=True)
    if trouble == "damaged":
        job.checkpoint.write_bytes(b"SQLite format 3\x00" + bytes(range(256)) * 40)
    elif trouble == "foreign":
        with closing(sqlite3.connect(job.checkpoint)) as db:
            db.execute("CREATE TABLE a (b)")
    elif trouble == "a folder for a result":
        job.output.mkdir()
    with Wire() as wire:
        ended = command("run", path, "-v", "--json", url=wire.url)
        assert (ended.returncode, ended.stdout, wire.heads) == (code, "", [])
    assert "Traceback" not in ended.stderr
    job.checkpoint.unlink(missing_ok=True)  # no table of it can be read
    assert_nowhere(ended.stderr, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_run_that_is_ended_while_it_sends(number, start, job, tmp_path):
    """Also what a kill leaves: the log of the checkpoint, and the marks of what was in flight."""
    served = 0

    async def some(asked: Asked, writer: Writer) -> None:
        nonlocal served
        served += 1
        await (fine if served <= 10 else endless(CHUNKED, chunk(b" "), every=0.05))(asked, writer)

    rows = [{"id": str(n), "name": f"row {n}"} for n in range(30)]
    with Wire() as wire:
        wire.default = some
        path = job(
            rows,
            retry={"attempts": 1},
            limits={"concurrency": 4, "requests_per_minute": 1e6},
            timeout={"total": PATIENCE},
        )
        process = start("run", path, "-v", "--json", env={"WRITER_BASE_URL": wire.url, "WRITER_API_KEY": CANARY})
        wire.wait(lambda: len(wire.heads) >= 14)
        process.send_signal(number)
        if number is signal.SIGTERM:
            assert any("in flight get" in line for line in process.stderr)
            process.send_signal(number)
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode in (3, -signal.SIGKILL), stderr
    assert {path.suffix for path in job.checkpoint.parent.iterdir()} >= {".sqlite", ".lock", ".flight"}
    assert_nowhere(stdout, stderr, tmp_path)


# what holds it in memory


def test_no_object_shows_it(job, tmp_path):
    path = job(ROWS)
    environ = {"WRITER_API_KEY": CANARY, "WRITER_BASE_URL": "http://127.0.0.1:9"}
    made = read_job(path)
    setup = prepare(made, environ, path)
    key = key_of(made, environ)
    connection = connection_of(setup, key, environ)
    client = Client(connection)
    night = Runner(OpenedJob(setup, connection, None, None, Budget()), Signals(), local.engine)
    assert key == CANARY
    for shown in (made, setup, connection, client, night):
        assert_nowhere(repr(shown), str(shown), f"{shown!r}")


def test_all_variables_that_hold_a_secret_are_named_for_those_who_must_not_inherit_them(job):
    """Ray's processes, which start with what this one has."""
    secrets = {
        "OUR_KEY": CANARY,
        "OUR_PROXY": f"user:{CANARY}",
        "WEBHOOK": f"https://127.0.0.1:9/{CANARY}",
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "AZURE_STORAGE_CONNECTION_STRING": CANARY,
    }
    environ = {**secrets, "WRITER_BASE_URL": "https://127.0.0.1:9", "AWS_REGION": "eu-west-1", "PATH": "/bin"}
    endpoint = {"key_env": "OUR_KEY", "proxy": "http://127.0.0.1:9", "proxy_env": "OUR_PROXY"}
    path = job(ROWS, endpoint=endpoint, notify={"url_env": "WEBHOOK"})
    made = read_job(path)
    connection = connection_of(prepare(made, environ, path), key_of(made, environ), environ)
    assert set(connection.secret_variables) == set(secrets)


# where it comes from


def key_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [CANARY, f"{CANARY}\n", f"  {CANARY}\r\n\n"], ids=["alone", "a line", "blanks"])
def test_a_key_from_a_file(content, command, job, tmp_path):
    file = key_file(tmp_path, content.encode())
    with Wire() as wire:
        ended = command(
            "run",
            job(ROWS[:1], endpoint={"key_file": str(file)}),
            "-v",
            "--json",
            url=wire.url,
            WRITER_API_KEY="another",
        )
    assert ended.returncode == 0, ended.stderr
    assert all(f"Authorization: Bearer {CANARY}\r\n".encode() in head for head in wire.heads)
    assert_nowhere(ended.stdout, ended.stderr, tmp_path, but=file)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o601, 0o777])
def test_a_key_that_others_may_read_is_refused(mode, command, job, tmp_path):
    file = key_file(tmp_path, CANARY.encode(), mode)
    with Wire() as wire:
        ended = command("run", job(ROWS, endpoint={"key_file": str(file)}), "-v", url=wire.url)
    assert (ended.returncode, ended.stdout, wire.heads) == (2, "", [])
    assert f"{file}: others may read the key: chmod 600 {file}" in ended.stderr
    assert_nowhere(ended.stderr)
    assert not job.output.parent.exists()


def test_a_key_that_its_owner_alone_may_read_is_taken_whatever_else_he_may(tmp_path):
    for mode in (0o400, 0o600, 0o700):
        file = key_file(tmp_path, CANARY.encode(), mode)
        assert read_key(file) == CANARY
        file.chmod(0o600)


def plugged(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(file))


BAD = {
    "missing": (str, "No such file"),
    "a folder": (Path.mkdir, "the key cannot be read: Is a directory"),
    "a FIFO": (lambda file: os.mkfifo(file, 0o600), "no file"),
    "a socket": (plugged, "the key cannot be read"),
    "a link to nothing": (lambda file: file.symlink_to("nowhere"), "No such file"),
    "a link to itself": (lambda file: file.symlink_to(file), "the key cannot be read"),
    "a device": (lambda file: file.symlink_to("/dev/zero"), "no file"),
    "empty": (lambda file: key_file(file.parent, b""), "no key"),
    "blank": (lambda file: key_file(file.parent, b" \n\t\n"), "no key"),
    "two words": (lambda file: key_file(file.parent, f"{CANARY} {CANARY}".encode()), "the key holds a space"),
    "two lines": (lambda file: key_file(file.parent, f"{CANARY}\n{CANARY}".encode()), "the key holds a space"),
    "for a shell": (lambda file: key_file(file.parent, f"export WRITER_API_KEY={CANARY}\n".encode()), "the key holds a space"),
    "not ASCII": (lambda file: key_file(file.parent, f"{CANARY}ü".encode()), "a character that no key has"),
    "a byte order mark": (lambda file: key_file(file.parent, b"\xef\xbb\xbf" + CANARY.encode()), "a character that no key has"),
    "UTF-16": (lambda file: key_file(file.parent, CANARY.encode("utf-16")), "a character that no key has"),
    "NUL": (lambda file: key_file(file.parent, f"{CANARY}\0".encode()), "a character that no key has"),
    "an escape": (lambda file: key_file(file.parent, f"{CANARY}\x1b[2J".encode()), "a character that no key has"),
    "header injection": (lambda file: key_file(file.parent, f"{CANARY}\r\nX-A: b".encode()), "the key holds a space"),
    "too long": (lambda file: key_file(file.parent, CANARY.encode() * 1000), "too long for a key"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_holds_no_key(kind, command, job, tmp_path):
    make, says_ = BAD[kind]
    make(tmp_path / "key")
    with Wire() as wire:
        ended = command("run", job(ROWS, endpoint={"key_file": str(tmp_path / "key")}), "-v", url=wire.url)
    assert (ended.returncode, ended.stdout, wire.opened) == (2, "", 0), ended.stderr
    assert ended.stderr.startswith("error: ")
    assert str(tmp_path) in ended.stderr
    assert says_ in ended.stderr
    assert "Traceback" not in ended.stderr
    assert_nowhere(ended.stderr)
    assert not job.output.parent.exists()


@pytest.mark.parametrize("kind", BAD)
def test_what_is_raised_carries_nothing_along(kind, tmp_path):
    """An exception's chain is what a debugger, a notebook or a crash reporter prints."""
    BAD[kind][0](tmp_path / "key")
    with pytest.raises(UsageError) as raised:
        read_key(tmp_path / "key")
    error: BaseException | None = raised.value
    while error is not None:
        assert_nowhere(repr(error), repr(vars(error)), repr(error.args))
        error = error.__cause__ or error.__context__
    assert_nowhere("".join(traceback.format_exception(raised.value)))


PASTED = "sk-canary-7f3a91c2e45b"


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({"endpoint": {"key": PASTED}}, id="a key"),
        pytest.param({"endpoint": {"api_key": PASTED}}, id="an API key"),
        pytest.param({"endpoint": {"key_env": PASTED}}, id="in place of the variable's name"),
        pytest.param({"endpoint": {"key_file": PASTED}}, id="in place of the file's name"),
        pytest.param({"endpoint": {"key_file": [PASTED]}}, id="in a list"),
        pytest.param({"endpoint": PASTED}, id="in place of the endpoint"),
        pytest.param({"endpoint": {"url": f"https://{PASTED}@127.0.0.1"}}, id="in the address"),
        pytest.param({"endpoint": {"url": f"https://user:{PASTED}@127.0.0.1"}}, id="as a password"),
        pytest.param({"endpoint": {"url": f"https://127.0.0.1/?key={PASTED}"}}, id="in the query"),
        pytest.param({"endpoint": {"proxy": f"http://user:{PASTED}@127.0.0.1:1"}}, id="in the proxy"),
        pytest.param({"endpoint": {"proxy": PASTED}}, id="in place of the proxy"),
        pytest.param({"endpoint": {"headers": {"Authorization": PASTED}}}, id="as a header"),
        pytest.param({"request": {"api_key": PASTED}}, id="in the request"),
        pytest.param({"key": PASTED}, id="beside the rest"),
        pytest.param({"api_key": {"value": [PASTED]}}, id="deep"),
    ],
)
def test_a_key_in_the_job_file_is_refused_and_not_repeated(sections, command, job):
    path = job(ROWS, **sections)
    with Wire() as wire:
        ended = command("run", path, "-v", url=wire.url, WRITER_API_KEY="another")
    assert (ended.returncode, ended.stdout, wire.opened) == (2, "", 0)
    assert PASTED not in ended.stderr


KEYS = st.text(st.sampled_from("abcXYZ019+/=&<>%-_.~'\"\\;:@!"), min_size=12, max_size=24)
ESCAPES = {
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, made inert in HTML": lambda text: re.sub("[<>&'+]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text)[1:-1]),
    "JSON, in capitals": lambda text: re.sub("[<>&'+/=]", lambda found: f"\\u{ord(found[0]):04X}", json.dumps(text)[1:-1]),
    "JSON, slashes escaped": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON, every character": lambda text: "".join(f"\\u{ord(one):04x}" for one in text),
    "HTML": html.escape,
    "HTML, by number": lambda text: re.sub(r"[^\w]", lambda found: f"&#{ord(found[0])};", text),
    "HTML, by hexadecimal number": lambda text: re.sub(r"[^\w]", lambda found: f"&#x{ord(found[0]):X};", text),
    "HTML, by name": lambda text: "".join((html.entities.codepoint2name.get(ord(one), "") and f"&{html.entities.codepoint2name[ord(one)]};") or one for one in text),
    "URL": lambda text: urllib.parse.quote(text, safe=""),
    "URL, slashes kept": urllib.parse.quote,
    "URL, in small letters": lambda text: re.sub("%..", lambda found: found[0].lower(), urllib.parse.quote(text, safe="")),
    "URL, every character": lambda text: "".join(f"%{ord(one):02X}" for one in text),
    "Python": lambda text: repr(text)[1:-1],
}  # fmt: skip

AGAIN = [
    "JSON",
    "JSON, made inert in HTML",
    "JSON, slashes escaped",
    "HTML",
    "HTML, by number",
    "URL",
    "URL, slashes kept",
]


@given(
    key=KEYS,
    ways=st.tuples(st.sampled_from(sorted(ESCAPES)), st.sampled_from(AGAIN)),
    around=st.sampled_from(["", "x", '"', "\\n", "%20", "&amp;"]),
)
@settings(deadline=None, max_examples=100)
def test_the_key_is_taken_out_however_it_is_escaped(key, ways, around):
    """Once, or twice over, as JSON within JSON or a page that shows a page."""
    redactor = Redactor(key)
    for written in (ESCAPES[ways[0]](key), ESCAPES[ways[1]](ESCAPES[ways[0]](key))):
        refuse_key(redactor, key, written, around)


def refuse_key(redactor: Redactor, key: str, written: str, around: str) -> None:
    said = f"{around}{written}{around}".encode()
    assert written.encode() not in redactor.answer(said)
    failure = redactor.failure(Failure(Kind.TRANSIENT, said.decode(), 500, body=said))
    assert written not in failure.message
    assert written.encode() not in failure.body
    decoded = [said.decode(), html.unescape(said.decode()), urllib.parse.unquote(said.decode())]
    for text in decoded:
        assert key not in redactor.answer(text.encode()).decode(), "what it said once it was decoded"


@given(key=KEYS, said=st.text(max_size=60))
@settings(deadline=None, max_examples=50)
def test_what_holds_no_key_is_left_as_it_is(key, said):
    if key not in said:
        assert Redactor(key).answer(said.encode()) == said.encode()
