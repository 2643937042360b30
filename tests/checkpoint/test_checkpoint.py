"""The checkpoint against real files: what went in comes out, what is damaged is found out, and the group commit."""

import asyncio
import os
import random
import re
import shutil
import signal
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.durability import (
    BATCHGEN,
    HUNG,
    Driver,
    Slow,
    Work,
    digest,
    environ,
    expected,
    fill,
    here,
    prompts,
    records,
    run,
    service,
    small_disk,
    start,
    wait_for,
)

from batchgen import commands
from batchgen.api.body import MIN_COMPRESSED_BYTES, to_columns
from batchgen.api.usage import NOTHING
from batchgen.checkpoint import reader as reader_module
from batchgen.checkpoint.checkpoint import PAGE_BYTES, Checkpoint
from batchgen.checkpoint.group_commit import GroupCommit
from batchgen.checkpoint.index import State, split
from batchgen.checkpoint.reader import Reader
from batchgen.checkpoint.schema import (
    APPLICATION_ID,
    LOCK,
    LONG,
    OK,
    SCHEMA_VERSION,
    ConcurrencyChange,
    Record,
)
from batchgen.errors import MachineRefused

BODY = b'{"choices":[{"text":"a text","log_probs":null}],"model":"palmyra-x5"}'
LARGE = BODY + bytes(random.Random(1).choices(b" \n", k=3 * MIN_COMPRESSED_BYTES))


def record(n: int, body: bytes | None = BODY, **more) -> Record:
    values = {
        "key": n.to_bytes(16, "big"),
        "outcome": OK,
        "final": True,
        "attempts": 1,
        "status": 200,
        "error": None,
        "latency": 0.25,
        "finished_at": 1_700_000_000_000_000 + n,
        "choices": 1,
        "name": f"row {n}",
        "body": body,
    }
    return Record(**{**values, **more})


def made(path: Path, added: list[Record]) -> list[Record]:
    with closing(Checkpoint(path)) as checkpoint:
        checkpoint.add(added)
    return added


def read(path: Path) -> list[Record]:
    with closing(Reader(path)) as reader:
        return records(reader)


def shell(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.create_function("flipped", 1, lambda body: bytes([*body[:30], body[30] ^ 4, *body[31:]]))
        for statement in statements:
            db.execute(statement)


# What is added reads back

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
BODIES = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.integers(MIN_COMPRESSED_BYTES - 2, MIN_COMPRESSED_BYTES + 2).map(bytes),
    st.tuples(st.binary(min_size=1, max_size=9), st.integers(1, 20_000)).map(lambda t: t[0] * t[1]),
)
RECORDS = st.builds(
    Record,
    key=st.binary(min_size=16, max_size=16),
    outcome=st.one_of(st.just(OK), TEXT),
    final=st.booleans(),
    attempts=st.integers(0, 2**31),
    status=st.none() | st.integers(0, 999),
    error=st.none() | TEXT,
    latency=st.none() | st.floats(0, 1e9),
    finished_at=INT64,
    choices=st.integers(0, 2**31),
    name=st.none() | TEXT,
    body=BODIES,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(RECORDS, max_size=8), max_size=4))
def test_what_is_added_reads_back(batches):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.sqlite"
        with closing(Checkpoint(path)) as checkpoint:
            for batch in batches:
                checkpoint.add(batch)
            added = [record for batch in batches for record in batch]
            assert read(path) == added  # by another connection, while the writer's is open
            assert checkpoint.last_id == len(added)
        assert repr(read(path)) == repr(added)  # types too: True is not 1 here
        with closing(Checkpoint(path)) as checkpoint:
            assert checkpoint.last_id == len(added)


@settings(deadline=None)
@given(RECORDS)
def test_the_checksum_is_what_files_have_whose_crc_zlib_reckoned(one):
    size, data = to_columns(one.body)
    *columns, _ = msgspec.structs.astuple(one)
    assert one.columns()[-1] == zlib.crc32(
        data or b"", zlib.crc32(msgspec.msgpack.encode((*columns, size, data is None)))
    )


@pytest.mark.parametrize("size", [LONG - 1, LONG, LONG + 1, 100_000])
def test_a_long_bodys_checksum_is_zlibs_whoever_reckons_it(size):
    one = record(1, (bytes(range(256)) * (size // 256 + 1))[:size])
    *columns, _ = msgspec.structs.astuple(one)
    assert one.columns()[-1] == zlib.crc32(one.body, zlib.crc32(msgspec.msgpack.encode((*columns, None, False))))


def test_records_that_lie_between_those_that_are_wanted_are_not_among_them(tmp_path):
    made(tmp_path / "c.sqlite", [record(n) for n in range(1, 8)])
    with closing(Reader(tmp_path / "c.sqlite")) as reader:
        for wanted in ([2, 3, 5], [5, 2], [1, 7], [7, 6, 4, 3, 3], [0, 9], []):
            assert sorted(reader.records(wanted)) == sorted({id_ for id_ in wanted if 1 <= id_ <= 7})


def test_a_reader_serves_one_thread_at_a_time(tmp_path):
    made(tmp_path / "c.sqlite", [record(1)])
    with closing(Reader(tmp_path / "c.sqlite")) as reader, ThreadPoolExecutor(1) as other:
        assert other.submit(reader.last_id).result() == 1
        with pytest.raises(RuntimeError, match="a reader is one thread's at a time"):
            reader._query(lambda _: other.submit(reader.last_id).result(), "SELECT 1")
        assert reader.last_id() == 1


def test_large_bodies_are_kept_compressed_and_small_ones_readable(tmp_path):
    log_probs = b"".join(b'{"token":" a","logprob":%.6f,"bytes":[32,97]},' % (-n / 7) for n in range(200))
    made(tmp_path / "c.sqlite", [record(1), record(2, log_probs)])
    with closing(sqlite3.connect(tmp_path / "c.sqlite")) as db:
        (small, large) = db.execute("SELECT size, body FROM bodies ORDER BY id").fetchall()
    assert small == (None, BODY)
    assert large[0] == len(log_probs)
    assert len(large[1]) < len(log_probs) / 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from((None, 0, 1, 40, 90, 200)), max_size=60), st.randoms())
def test_pieces_are_all_attempts_once_in_order_and_none_is_too_much_for_memory(sizes, chance):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "c.sqlite"
        made(path, [record(n, None if size is None else b"x" * size) for n, size in enumerate(sizes)])
        patch.setattr("batchgen.checkpoint.reader.BYTES_PER_READ", 100)
        patch.setattr("batchgen.checkpoint.reader.RECORDS_PER_READ", 8)
        ids = [0, *range(1, len(sizes) + 1), len(sizes) + 1]  # two that are not there
        chance.shuffle(ids)
        with closing(Reader(path)) as reader:
            pieces = list(reader.record_batches(ids))
    assert [id_ for piece, _, _ in pieces for id_ in piece] == ids
    for piece, found, _ in pieces:
        assert set(found) == {id_ for id_ in piece if 1 <= id_ <= len(sizes)}
        assert len(piece) == 1 or sum(len(one.body or b"") for one in found.values()) <= 100
        assert len(piece) <= 8


def test_a_piece_is_as_large_as_fits_though_the_one_before_it_was_larger_or_empty(tmp_path):
    made(tmp_path / "c.sqlite", [record(n, b"x" * (5 << 20 if n == 3 else 10)) for n in range(1, 3001)])
    with closing(Reader(tmp_path / "c.sqlite")) as reader:
        lengths = [len(piece) for piece, _, _ in reader.record_batches([*range(-3000, 0), *range(1, 3001)])]
    assert len(lengths) < 20


def test_the_log_and_full_syncs_are_really_in_force(tmp_path):
    with closing(Checkpoint(tmp_path / "c.sqlite")) as checkpoint:
        settings_ = {
            name: checkpoint._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        }
        assert settings_ == {"journal_mode": "wal", "synchronous": 2}
        checkpoint.add([record(1)])
        assert (tmp_path / "c.sqlite-wal").stat().st_size > 0


def test_a_folder_where_no_log_can_be_kept_is_refused(tmp_path):
    """SQLite falls back to another journal without a word where it cannot have the log: here, its name is taken."""
    made(tmp_path / "c.sqlite", [record(1)])
    shell(tmp_path / "c.sqlite", "PRAGMA journal_mode = delete")
    (tmp_path / "c.sqlite-shm").mkdir()
    (tmp_path / "c.sqlite-wal").mkdir()
    with pytest.raises(MachineRefused) as refused:
        Checkpoint(tmp_path / "c.sqlite")
    assert refused.value.exit_code == 5


NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="root alone writes files that it may not write")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, pytest.param(0o277, marks=NEEDS_ROOT)])
def test_only_the_owner_can_read_it_whatever_the_umask(tmp_path, umask):
    code = f"""
import os; os.umask({umask})
from pathlib import Path; from contextlib import asynccontextmanager, closing, suppress
from batchgen.checkpoint.checkpoint import Checkpoint, Record; from batchgen.checkpoint.in_flight import InFlightLog; from batchgen.storage import file_lock
folder = Path({str(tmp_path)!r})
with file_lock.exclusive(folder / "c.lock"), closing(InFlightLog(folder / "c.flight", 4)), closing(Checkpoint(folder / "c.sqlite")) as c:
    c.add([Record(key=bytes(16), outcome="ok", attempts=1, finished_at=1, body=b"{{}}")])
    print(*sorted((p.name, oct(p.stat().st_mode & 0o777)) for p in folder.iterdir()), sep="\\n")
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names = {"c.flight", "c.lock", "c.sqlite", "c.sqlite-shm", "c.sqlite-wal"}
    assert {line.split("'")[1] for line in said.splitlines()} == names
    for line in said.splitlines():
        assert int(line.split("'")[3], 8) & 0o177 == 0, line


def test_a_symlink_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"")
    (tmp_path / "c.sqlite").symlink_to(tmp_path / "precious")
    with pytest.raises(MachineRefused):
        Checkpoint(tmp_path / "c.sqlite")
    assert (tmp_path / "precious").read_bytes() == b""


# Damage

COLUMNS = {
    "key": "X'00000000000000000000000000000fff'",
    "outcome": "'oj'",
    "final": "1 - final",
    "attempts": "attempts + 1",
    "status": "201",
    "error": "''",
    "latency": "latency + 1e-9",
    "finished_at": "finished_at + 1",
    "choices": "2",
    "name": "'row 3'",
    "crc": "crc + 1",
}
BODY_DAMAGE = {
    "a bit flipped": "UPDATE bodies SET body = flipped(body)",
    "shorter by one": "UPDATE bodies SET body = substr(body, 1, length(body) - 1)",
    "empty": "UPDATE bodies SET body = x''",
    "its row deleted": "DELETE FROM bodies",
    "size gone or there": "UPDATE bodies SET size = CASE WHEN size IS NULL THEN 70 END",
    "size off by one": "UPDATE bodies SET size = coalesce(size, length(body)) + 1",
    "size one less": "UPDATE bodies SET size = coalesce(size, length(body)) - 1",
    "size zero": "UPDATE bodies SET size = 0",
    "size negative": "UPDATE bodies SET size = -29768",
    "size absurd": "UPDATE bodies SET size = 9223372036854775807",
    "another row's": "UPDATE bodies SET body = (SELECT body FROM bodies WHERE id = 3)",
}


@pytest.mark.parametrize("keys_per_read", [1, 3, 1000])
def test_the_index_has_every_attempt_whatever_its_key_outcome_and_neighbours(tmp_path, monkeypatch, keys_per_read):
    """Most are answers to a row's first request, and are read many at once."""
    monkeypatch.setattr(reader_module, "KEYS_PER_READ", keys_per_read)
    rows = [
        (bytes(16), OK, 1),
        (b"\0\xff" * 8, OK, 1),
        (b"\xc3(" * 8, OK, 1),  # no UTF-8
        (b"retried" + bytes(9), "transient", 1),
        (b"plain text of 16", OK, 1),
        (b"retried" + bytes(9), OK, 2),
        (b"failed" + bytes(10), "invalid", 1),
        (b"dropped" + bytes(9), OK, 1),
        (b"damaged" + bytes(9), OK, 1),
        (b"damaged" + bytes(9), "damaged", 1),
        (b"bought anew" + bytes(5), OK, 1),
        (b"bought anew" + bytes(5), OK, 2),
    ]
    made(tmp_path / "c.sqlite", [record(0, key=key, outcome=how, attempts=n) for key, how, n in rows])
    shell(tmp_path / "c.sqlite", "DELETE FROM attempts WHERE id = 8")
    last = {key: (at, int(State.DONE), n) for at, (key, how, n) in enumerate(rows, 1)}
    last |= {rows[6][0]: (7, int(State.FAILED), 1), rows[7][0]: (0, 0, 0), rows[9][0]: (10, int(State.OPEN), 1)}
    with closing(Reader(tmp_path / "c.sqlite")) as reader:
        index = reader.index(0)
        assert index.find(**split(b"".join(last))).rows() == list(last.values())
        assert index.done() == 6
        new = {key: found if found[0] > 4 else (0, 0, 0) for key, found in last.items()}
        assert reader.index(0, after=4).find(**split(b"".join(new))).rows() == list(new.values())


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("column", COLUMNS)
def test_a_damaged_column_damages_the_row_and_no_other(tmp_path, column, body):
    before = made(tmp_path / "c.sqlite", [record(n, body + b" " * n) for n in (1, 2, 3)])
    shell(tmp_path / "c.sqlite", f"UPDATE attempts SET {column} = {COLUMNS[column]} WHERE id = 2")
    with closing(Reader(tmp_path / "c.sqlite")) as reader:
        assert reader.records([1, 2, 3]) == {1: before[0], 3: before[2]}


@pytest.mark.parametrize("column", ["outcome", "error", "name"])
def test_a_text_that_is_no_utf8_any_more_damages_the_row_and_no_other(tmp_path, column):
    """One flipped bit can do that; and all that reads the column is to go on."""
    before = made(tmp_path / "c.sqlite", [record(n, key=bytes([n]) * 16, error="said so") for n in (1, 2, 3)])
    shell(tmp_path / "c.sqlite", f"UPDATE attempts SET {column} = CAST(x'6fff6b' AS TEXT) WHERE id = 2")
    with closing(Reader(tmp_path / "c.sqlite")) as reader:
        assert reader.records([1, 2, 3]) == {1: before[0], 3: before[2]}
        assert reader.index(0).done() == (2 if column == "outcome" else 3)
        assert {"row 1", "row 3"} <= set(reader.row_names())


def test_more_keys_and_ids_are_looked_up_than_a_statement_takes(tmp_path):
    added = made(tmp_path / "c.sqlite", [record(n) for n in (1, 2)])
    with closing(Reader(tmp_path / "c.sqlite")) as reader:
        assert reader.keys_of(range(2, 300_000)) == {2: added[1].key}
        assert reader.attempts_of([n.to_bytes(16, "big") for n in range(2, 300_000)]) == {added[1].key: 1}


def test_an_empty_body_whose_type_is_damaged_is_not_read_as_a_number(tmp_path):
    made(tmp_path / "c.sqlite", [record(1, b""), record(2, b"")])
    loose = (
        "PRAGMA writable_schema = on; UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name = 'bodies'"
    )
    for sql in (loose, "UPDATE bodies SET body = 0 WHERE id = 1"):  # each sees the file anew
        with closing(sqlite3.connect(tmp_path / "c.sqlite")) as db:
            db.executescript(sql)
    assert read(tmp_path / "c.sqlite") == [record(2, b"")]


def test_an_empty_body_that_is_gone_is_not_taken_for_none(tmp_path):
    made(tmp_path / "c.sqlite", [record(1, b""), record(2, None)])
    shell(tmp_path / "c.sqlite", "DELETE FROM bodies")
    assert read(tmp_path / "c.sqlite") == [record(2, None)]


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("damage", BODY_DAMAGE)
def test_a_damaged_body_damages_the_row_and_no_other(tmp_path, damage, body):
    before = made(tmp_path / "c.sqlite", [record(n, body + b" " * n) for n in (1, 2, 3)])
    shell(tmp_path / "c.sqlite", f"{BODY_DAMAGE[damage]} WHERE id = 2")
    with closing(Reader(tmp_path / "c.sqlite")) as reader:
        assert reader.records([1, 2, 3]) == {1: before[0], 3: before[2]}


@settings(max_examples=75, deadline=None)
@given(st.data())
def test_any_flipped_bit_of_the_file_is_found_out(data):
    """In a payload it costs the row, in SQLite's own structure the file is refused; a wrong answer comes of none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.sqlite"
        shutil.copy(_template(), path)
        with path.open("r+b") as file:
            at = data.draw(st.integers(0, path.stat().st_size - 1))
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << data.draw(st.integers(0, 7))]))
        before = {added.key: added for added in TEMPLATE}
        with suppress(MachineRefused), closing(Checkpoint(path)):
            for one in read(path):
                assert one == before.get(one.key)


def test_a_flipped_bit_in_a_list_of_ids_is_never_read_for_ever(tmp_path):
    path, whole = tmp_path / "c.sqlite", _template().read_bytes()
    with closing(sqlite3.connect(_template())) as db:
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'attempts'")
    start, refused = (root - 1) * PAGE_BYTES * 8, 0
    for bit in range(start, start + 8 * (8 + 2 * len(TEMPLATE))):  # a page's head, and where its rows begin
        path.write_bytes(whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])
        try:
            with closing(Reader(path)) as reader:
                assert reader.index(0).done() <= len(TEMPLATE)
        except MachineRefused as error:
            refused += "out of order" in str(error)
    assert refused


TEMPLATE = [record(n, (BODY, LARGE, b"", None)[n % 4], error="said so" if n % 4 > 1 else None) for n in range(24)]
_made: list[Path] = []


def _template() -> Path:
    if not _made:
        path = Path(tempfile.mkdtemp()) / "c.sqlite"
        made(path, TEMPLATE)
        _made.append(path)
    return _made[0]


@pytest.fixture(scope="module", autouse=True)
def _tidy():
    yield
    for path in _made:
        shutil.rmtree(path.parent)


def cut(path: Path, keep: float) -> None:
    os.truncate(path, int(path.stat().st_size * keep))


FILES: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(random.Random(5).randbytes(9000)),
    "text": lambda path: path.write_text("not a database at all, " * 200),
    "cut to a half": lambda path: cut(path, 0.5),
    "cut to its first page": lambda path: os.truncate(path, PAGE_BYTES),
    "cut within its first page": lambda path: os.truncate(path, 1000),
    "cut within its header": lambda path: os.truncate(path, 50),
    "its header zeroed": lambda path: path.write_bytes(bytes(100) + path.read_bytes()[100:]),
    "its first page zeroed": lambda path: path.write_bytes(bytes(PAGE_BYTES) + path.read_bytes()[PAGE_BYTES:]),
    "tables of somebody else": lambda path: (path.unlink(), shell(path, "CREATE TABLE t (x)")),
    "somebody else's with our numbers": lambda path: (
        path.unlink(),
        shell(
            path,
            "CREATE TABLE t (x)",
            f"PRAGMA application_id = {APPLICATION_ID}",
            f"PRAGMA user_version = {SCHEMA_VERSION}",
        ),
    ),
    "another's mark": lambda path: shell(path, "PRAGMA application_id = 1"),
    "a later schema": lambda path: shell(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}"),
    "a schema of before": lambda path: shell(path, "PRAGMA user_version = 0"),
    "a table dropped": lambda path: shell(path, "DROP TABLE bodies"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", FILES)
def test_a_damaged_or_foreign_file_is_refused_with_a_way_out(tmp_path, damage):
    """Exit 5, the file's name and what to do; and nothing is sent."""
    work = Work(tmp_path).write(prompts(40))
    work.checkpoint.parent.mkdir(parents=True)
    made(work.checkpoint, [record(n, LARGE) for n in range(40)])
    FILES[damage](work.checkpoint)
    before = work.checkpoint.read_bytes() if work.checkpoint.is_file() else None
    with Slow() as server:
        with pytest.raises(MachineRefused) as refused:
            here(work, server.url)
        assert server.requests == 0
    said = str(refused.value)
    assert refused.value.exit_code == 5
    assert str(work.checkpoint) in said
    assert any(way in said for way in ("move", "finish the job with that version", "recover")), said
    assert not work.result.exists()
    if before is not None:
        assert work.checkpoint.read_bytes() == before, "evidence was changed"


@pytest.mark.parametrize("damage", ["garbage", "a folder"])
def test_the_command_line_refuses_it_without_a_traceback(tmp_path, damage):
    work = Work(tmp_path).write(prompts(4))
    work.checkpoint.parent.mkdir(parents=True)
    made(work.checkpoint, [record(n) for n in range(4)])
    FILES[damage](work.checkpoint)
    code, _, said = run(work, "http://127.0.0.1:9")
    assert (code, said.count("\n")) == (5, 1), said
    assert said.startswith(f"error: {work.checkpoint}: ")


def test_the_way_out_of_a_damaged_file_is_a_way(tmp_path):
    """The command that the message names is run as it stands; what can be saved is not bought again."""
    asked = prompts(300)
    work = Work(tmp_path).write(asked)
    with service() as built_in:
        assert run(work, built_in.url)[0] == 0
        with work.checkpoint.open("r+b") as file:
            file.seek(work.checkpoint.stat().st_size // (2 * PAGE_BYTES) * PAGE_BYTES)
            file.write(bytes(PAGE_BYTES))  # one page in the middle
        work.result.unlink()
        code, _, said = run(work, built_in.url)
        assert code == 5
        [command] = re.findall("`([^`]*)`", said)
        ways = f"{BATCHGEN.parent}:{os.environ['PATH']}"
        subprocess.run(command, shell=True, cwd=tmp_path, check=True, timeout=HUNG, env={**environ(), "PATH": ways})
        code, summary, said = run(work, built_in.url)
        assert code == 0, said
        assert summary["reused"] > len(asked) / 2
        assert built_in.ledger()["billed"] == len(asked) + summary["sent"]
        assert [row["text"] for row in work.table()] == [expected(prompt) for prompt in asked]


EMPTY: dict[str, Callable[[Path], object]] = {
    "no byte written": lambda path: path.touch(),
    "in log mode, no table yet": lambda path: shell(path, "PRAGMA journal_mode = wal"),
}


@pytest.mark.parametrize("state", EMPTY)
def test_a_kill_while_the_file_was_made_leaves_a_job_that_has_not_run(tmp_path, state):
    work = Work(tmp_path).write(prompts(3))
    work.checkpoint.parent.mkdir(parents=True)
    EMPTY[state](work.checkpoint)
    for command in (commands.status, commands.export):
        with pytest.raises(MachineRefused, match="has not run"):
            command(work.job)
    assert commands.plan(work.job).plan.todo == 3
    with Slow() as server:
        assert here(work, server.url).ok == 3


# The log


LOGS: dict[str, Callable[[Path], object]] = {
    "garbage": lambda log: log.write_bytes(random.Random(8).randbytes(40_000)),
    "empty": lambda log: log.write_bytes(b""),
    "a header and garbage": lambda log: log.write_bytes(
        struct.pack(">6I", 0x377F0682, 3007000, 4096, 1, 2, 3) + bytes(8) + random.Random(8).randbytes(8240)
    ),
}


@pytest.mark.parametrize("log", LOGS)
def test_a_log_that_is_not_its_own_is_ignored(tmp_path, log):
    path = tmp_path / "c.sqlite"
    before = made(path, [record(1), record(2, LARGE)])
    assert not (tmp_path / "c.sqlite-wal").exists()  # a clean close leaves everything in the one file
    LOGS[log](tmp_path / "c.sqlite-wal")
    assert read(path) == before
    with closing(Checkpoint(path)) as checkpoint:
        checkpoint.add([record(3)])
    assert read(path) == [*before, record(3)]


@pytest.fixture(scope="module")
def torn(tmp_path_factory):
    """The files that a killed writer leaves, and what it had committed, one record a transaction."""
    path = tmp_path_factory.mktemp("torn") / "c.sqlite"
    committed = [record(n, (BODY, LARGE)[n % 2]) for n in range(30)]
    killed_with(path, committed)
    return path, committed


def killed_with(path: Path, committed: list[Record]) -> None:
    """Commits records, one a transaction, in a process that is then killed."""
    pid = os.fork()
    if pid == 0:
        checkpoint = Checkpoint(path)
        for one in committed:
            checkpoint.add([one])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def test_what_a_killed_writer_had_committed_is_there(tmp_path, torn):
    path, committed = _copied(torn[0], tmp_path), torn[1]
    assert read(path) == committed
    with closing(Checkpoint(path)) as checkpoint:
        checkpoint.add([record(99)])
    assert not Path(f"{path}-wal").exists()
    assert read(path) == [*committed, record(99)]


@settings(max_examples=60, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255))
def test_a_torn_log_gives_whole_commits_up_to_the_tear(torn, where, flip):
    """Cut (flip 0) or with a byte changed: what lies before is whole, nothing of what comes after, and no half."""
    with tempfile.TemporaryDirectory() as folder:
        path, committed = _copied(torn[0], Path(folder)), torn[1]
        log = Path(f"{path}-wal")
        at = int(log.stat().st_size * where)
        content = bytearray(log.read_bytes())
        content[at] ^= flip
        log.write_bytes(content if flip else content[:at])
        try:
            found = read(path)
        except MachineRefused:  # torn before the tables were there
            assert where < 0.2
            return
        assert found == committed[: len(found)]
        with closing(Checkpoint(path)) as checkpoint:
            checkpoint.add([record(99)])
        assert read(path) == [*found, record(99)]


def test_a_log_that_was_deleted_costs_answers_and_makes_none(tmp_path, torn):
    path, committed = _copied(torn[0], tmp_path), torn[1]
    Path(f"{path}-wal").unlink()
    with closing(Checkpoint(path)):
        found = read(path)
    assert found == committed[: len(found)]


LOST: dict[str, Callable[[Path], object]] = {
    "the log": lambda path: Path(f"{path}-wal").unlink(),
    "all but the file's name": lambda path: (Path(f"{path}-wal").unlink(), path.write_bytes(b"")),
}


@pytest.mark.parametrize("what", LOST)
def test_attempts_are_missed_that_were_in_the_log_alone(tmp_path, what):
    """A small job's never leave the log before the end: the file has not even tables."""
    path = tmp_path / "c.sqlite"
    path.with_suffix(LOCK).touch()
    killed_with(path, [record(n) for n in range(30)])
    LOST[what](path)
    with closing(Checkpoint(path)) as checkpoint:
        assert (checkpoint.missing_attempts, checkpoint.last_id) == (30, 30)
        checkpoint.add([record(99)])
    with closing(Checkpoint(path)) as checkpoint:
        assert (checkpoint.missing_attempts, checkpoint.last_id) == (0, 31), "missed once"


def test_nothing_is_missed_of_a_file_that_was_moved_away(tmp_path):
    """Nor if the first run after that is killed before it has an answer."""
    path = tmp_path / "c.sqlite"
    path.with_suffix(LOCK).touch()
    made(path, [record(n) for n in range(30)])
    path.unlink()
    killed_with(path, [])
    with closing(Checkpoint(path)) as checkpoint:
        assert (checkpoint.missing_attempts, checkpoint.last_id) == (0, 0)


def _copied(path: Path, folder: Path) -> Path:
    """Without the shared memory, as after a power loss."""
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", folder / f"{path.name}{suffix}")
    return folder / path.name


# The group commit


class Counted(Checkpoint):
    """The real one, which also notes the size of every transaction, and can be held up."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.sizes: list[int] = []

    def add(self, records):
        super().add(records)
        self.sizes.append(len(records))


async def test_many_saves_few_transactions_and_each_returns_when_its_own_is_committed(tmp_path):
    path = tmp_path / "c.sqlite"
    with closing(Counted(path)) as checkpoint:
        async with GroupCommit(checkpoint) as writer:

            async def save(n: int) -> None:
                await writer.save(record(n))
                with closing(Reader(path)) as reader:
                    assert list(reader.attempts_of([record(n).key]).values()) == [1]

            await asyncio.gather(*[save(n) for n in range(400)])
        assert sum(checkpoint.sizes) == 400
        assert len(checkpoint.sizes) < 100
    assert sorted(read(path), key=lambda one: one.key) == [record(n) for n in range(400)]


async def test_saves_that_were_queued_before_a_cancellation_are_committed(tmp_path):
    path = tmp_path / "c.sqlite"
    with closing(Checkpoint(path)) as checkpoint:
        lock = apsw.Connection(str(path))
        lock.execute("BEGIN IMMEDIATE")  # holds the first commit up, so that the others queue

        async def interrupted() -> None:
            async with GroupCommit(checkpoint) as writer:
                saves = [asyncio.create_task(writer.save(record(n))) for n in range(50)]
                await asyncio.sleep(0)
                for save in saves:
                    save.cancel()
                await asyncio.sleep(0)
                assert all(save.cancelled() for save in saves)
                lock.execute("ROLLBACK")
                lock.close()
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await interrupted()
    assert read(path) == [record(n) for n in range(50)]


@asynccontextmanager
async def failing(checkpoint: Checkpoint, words: str) -> AsyncIterator[GroupCommit]:
    """A group commit that raises at its end what a commit has raised."""
    writer = await GroupCommit(checkpoint).__aenter__()
    yield writer
    with pytest.raises(MachineRefused, match=words):
        await writer.__aexit__(None)


async def test_a_commit_that_fails_when_nobody_waits_for_it_any_more_is_told(tmp_path):
    """As after a second signal, which cancels what is in flight."""
    path = tmp_path / "c.sqlite"
    with closing(Checkpoint(path)) as checkpoint, closing(apsw.Connection(str(path))) as lock:
        checkpoint._db.set_busy_timeout(20)
        lock.execute("BEGIN IMMEDIATE")
        async with failing(checkpoint, "database is locked") as writer:
            save = asyncio.create_task(writer.save(record(1)))
            await asyncio.sleep(0)
            save.cancel()
            await asyncio.wait([save])
    assert read(path) == []


async def refused_saves(writer: GroupCommit, count: int) -> list[MachineRefused]:
    told = await asyncio.gather(*[writer.save(record(1000 + n, LARGE)) for n in range(count)], return_exceptions=True)
    assert all(isinstance(one, MachineRefused) for one in told), told
    return told


async def test_a_commit_that_fails_stops_every_save_that_waits_and_every_later_one(tmp_path):
    path = tmp_path / "c.sqlite"
    with closing(Checkpoint(path)) as checkpoint:
        checkpoint.add([record(0)])
        checkpoint._db.execute("PRAGMA query_only = on")  # SQLite's own refusal to write
        async with failing(checkpoint, "readonly") as writer:
            for error in await refused_saves(writer, 40):
                assert error.exit_code == 5
                assert str(path) in str(error)
            checkpoint._db.execute("PRAGMA query_only = off")
            with pytest.raises(MachineRefused):  # once is enough: what the disk holds is not known any more
                await writer.save(record(2))
    assert read(path) == [record(0)]


async def test_a_full_disk_keeps_what_was_committed_and_the_next_run_goes_on(tmp_path):
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        path = disk / "c.sqlite"
        saved = []
        with closing(Checkpoint(path)) as checkpoint:
            async with failing(checkpoint, "full") as writer:
                for n in range(5):
                    await writer.save(record(n, os.urandom(3000)))
                    saved.append(n)
                filler = fill(disk)
                with suppress(MachineRefused):
                    for n in range(5, 2000):
                        await writer.save(record(n, os.urandom(3000)))
                        saved.append(n)
                assert len(saved) < 1000
                assert "full" in str((await refused_saves(writer, 3))[0])
        assert [one.key for one in read(path)] == [record(n).key for n in saved]
        filler.unlink()
        with closing(Checkpoint(path)) as checkpoint:
            checkpoint.add([record(9999)])
        assert [one.key for one in read(path)] == [record(n).key for n in (*saved, 9999)]


def test_a_disk_that_fills_at_once_while_a_run_sends(tmp_path):
    """Exit 5 with the reason, what is saved stays, and the next run buys only the rest, but for those in flight."""
    asked = prompts(600, "tin of paint")
    work = Work(tmp_path).write(asked, concurrency=8)
    work.result.parent.mkdir()
    slow = service("--latency", "0.1")
    with slow as built_in, small_disk(work.checkpoint.parent, 32 << 20) as disk, closing(Driver()) as driver:
        with start("run", work.job, url=built_in.url) as process:
            wait_for(lambda: built_in.ledger()["billed"] >= 50, "some answers")
            filler = fill(disk)
            _, said = process.communicate(timeout=HUNG)
        assert process.returncode == 5, said
        assert "full" in said
        assert "Every answer" in said or "safe" in said
        assert not work.result.exists()
        saved = work.answers()
        billed = built_in.settled()["billed"]
        assert 0 < len(saved) <= billed <= len(saved) + 8
        filler.unlink()
        ended = driver("run", work, built_in.url)
        assert ended.error is None
        assert ended.summary["reused"] == len(saved)
        assert ended.summary["interrupted"] >= billed - len(saved)
        assert built_in.settled()["billed"] <= len(asked) + 8
        assert max(built_in.ledger()["prompts"][digest(prompt)] for prompt in asked) <= 2
        assert [row["text"] for row in work.table()] == [expected(prompt) for prompt in asked]
        assert {path.name for path in disk.iterdir()} == {"job.sqlite", "job.lock", "job.flight", "job.publish"}


def test_every_file_of_the_state_is_the_owners_alone_after_a_run(tmp_path):
    work = Work(tmp_path).write(prompts(4))
    with service() as built_in:
        assert run(work, built_in.url)[0] == 0
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in work.checkpoint.parent.iterdir())


def test_an_id_is_never_given_twice_though_the_last_attempts_were_pruned(tmp_path):
    """Else a new answer would lie under the floor of the last fresh start, and be bought again and again."""
    with closing(Checkpoint(tmp_path / "c.sqlite")) as checkpoint:
        checkpoint.add([record(n) for n in range(5)])
        checkpoint.start_run(0, "2026-01-01", floor=5, rows=0, todo=0)
        checkpoint.drop([1, 2, 3, 4, 5])
    with closing(Checkpoint(tmp_path / "c.sqlite")) as checkpoint:
        checkpoint.add([record(9)])
        assert checkpoint.last_id == 6


def test_a_disk_that_is_full_when_attempts_are_pruned_makes_none_missing(tmp_path):
    """They are dropped, and only their space cannot be freed."""
    with small_disk(tmp_path / "disk", 4 << 20) as disk:
        path = disk / "c.sqlite"
        path.with_suffix(LOCK).touch()
        made(path, [record(n, os.urandom(3000)) for n in range(400)])
        filler = fill(disk, leave=500_000)
        with closing(Checkpoint(path)) as checkpoint, pytest.raises(MachineRefused, match="full"):
            checkpoint.drop(list(range(391, 401)))
        filler.unlink()
        with closing(Checkpoint(path)) as checkpoint:
            assert (checkpoint.last_id, checkpoint.missing_attempts) == (390, 0)


class Growing(list):
    """Gets another item whenever a part of it has been read, as by another thread."""

    def __getitem__(self, at):
        part = super().__getitem__(at)
        self.append((1.0 + len(self), 2.0, 3.0, 4.0, "why"))
        return part


def test_no_move_is_passed_over_that_comes_while_others_are_stored(tmp_path):
    path = tmp_path / "c.sqlite"
    moves = Growing([(1.0, 2.0, 3.0, 4.0, "why")])
    with closing(Checkpoint(path)) as checkpoint:
        run = checkpoint.start_run(0, "2026-01-01", floor=0, rows=0, todo=0)
        for n in range(2):
            checkpoint.set_usage(run, NOTHING)
            checkpoint.set_outlook(None, None, moves)
            checkpoint.add([record(n)])
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM in_flight").fetchone() == (2,)


def test_the_moves_of_a_runs_second_pass_are_stored_from_the_first_one_on(tmp_path):
    path = tmp_path / "c.sqlite"
    with closing(Checkpoint(path)) as checkpoint:
        run = checkpoint.start_run(0, "2026-01-01", floor=0, rows=0, todo=0)
        for n, many in enumerate((3, 2)):
            moves = [ConcurrencyChange(10.0 * n + move, 2.0, 3.0, 4.0, f"{n}") for move in range(many)]
            checkpoint.set_usage(run, NOTHING)
            checkpoint.set_outlook(None, None, moves)
            checkpoint.add([record(n)])
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT why, count(*) FROM in_flight GROUP BY why").fetchall() == [("0", 3), ("1", 2)]


def test_after_a_commit_that_failed_nothing_of_it_is_there_and_the_next_one_is_whole(tmp_path):
    path = tmp_path / "c.sqlite"
    with closing(Checkpoint(path)) as checkpoint:
        checkpoint.add([record(0)])
        with pytest.raises(MachineRefused):
            checkpoint.add_with_ids([(2, record(1)), (1, record(2))])  # an id that is taken
        checkpoint.add([record(3)])
    assert [one.key for one in read(path)] == [record(n).key for n in (0, 3)]
