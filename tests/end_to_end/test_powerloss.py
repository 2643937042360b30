"""The power fails at any moment: nothing that was acknowledged is lost, and the rig that says so can tell."""

import functools
import logging
import random
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest
from powerloss.disk import SECTOR, Fate, File
from powerloss.driver import Weakness
from powerloss.operations import Exchange, Published, Recording
from powerloss.recording import Session, record_sessions, refused
from powerloss.replay import LOST, UNPUBLISHED, Findings, Replay, lay_out, sample
from support.durability import Service, Work, digest, keys, prompts, run, service

from batchgen.checkpoint.in_flight import InFlightLog, leftovers

SEED = 20
STATES = 800
"""Distinct crash states, at least, that a sound recording must survive."""
WEAK_STATES = 600
"""Until which a weakness must be found."""
FOLDER_STATES = 400
PART_ROWS = 25
ROWS = 60
MORE_ROWS = 100
CONCURRENCY = 4
KILLED_AT = 10
"""The sync before which the first session is killed: more than it makes before it sends, and fewer than
ROWS / CONCURRENCY, which are the commits that it makes at least."""
SHORT_LOG = 30
"""Pages after which SQLite moves the log into the database, instead of 1,000: a dozen times in a recording."""
RESUMED = 4
"""Crash states that the real command line resumes, against the server's ledger."""

needs_strace = pytest.mark.skipif(refused() is not None, reason=str(refused()))


@pytest.fixture(scope="module")
def server() -> Iterator[Service]:
    with service() as running:
        yield running


@pytest.fixture
def work(tmp_path) -> Work:
    (tmp_path / "disk").mkdir()
    return Work(tmp_path / "disk")


@pytest.fixture
def record(server, work, tmp_path):
    """Records a job: `sessions` are (rows, what is special about the session); `output`: more of that section."""

    def recorded(*sessions: tuple[int, dict], output: dict | None = None) -> Recording:
        def write(rows: int) -> Work:
            more = {"output": {"path": work.output, **(output or {})}}
            return work.write(prompts(rows), concurrency=CONCURRENCY, more=more)

        planned = [Session(functools.partial(write, rows), **special) for rows, special in sessions]
        return record_sessions(work, server.url, tmp_path, planned)

    return recorded


@pytest.fixture
def replay(record_property):
    """Replays a recording, and tells how much that was (`--log-cli-level=INFO`, or the JUnit file)."""

    def replayed(recording: Recording, states: int, sought: str | None = None) -> Findings:
        findings = Replay(recording, SEED, states, sought).run()
        record_property("replayed", str(findings))
        logging.getLogger(__name__).info("%s", findings)
        return findings

    return replayed


@needs_strace
@pytest.mark.parametrize("log_pages", [None, SHORT_LOG], ids=["log as it is", "short log"])
def test_nothing_acknowledged_is_lost(record, replay, work, log_pages):
    """A run that is killed, one that resumes it and publishes, one with more rows that publishes again."""
    log = {"log_pages": log_pages}
    recording = record((ROWS, {"kill": KILLED_AT, **log}), (ROWS, log), (MORE_ROWS, log))
    assert [done.ok for done in recording.operations if isinstance(done, Published)] == [ROWS, MORE_ROWS]
    assert pq.read_table(work.result)["status"].to_pylist() == ["ok"] * MORE_ROWS

    findings = replay(recording, STATES)

    assert findings.states >= STATES
    assert not findings.wrong, str(findings)


@needs_strace
def test_a_folder_of_parts_is_the_old_one_or_the_new_one(record, replay, work):
    """Its first publication, one of more parts, and one of fewer."""
    recording = record((ROWS, {}), (MORE_ROWS, {}), (PART_ROWS, {}), output={"rows_per_file": PART_ROWS})
    assert [done.ok for done in recording.operations if isinstance(done, Published)] == [ROWS, MORE_ROWS, PART_ROWS]
    assert recording.count(Exchange) == 2 + 3, "and once before each, to see whether it can be done"
    assert [path.name for path in work.result.iterdir()] == ["part-00000.parquet"]

    findings = replay(recording, FOLDER_STATES)

    assert findings.states >= FOLDER_STATES
    assert not findings.wrong, str(findings)


@needs_strace
@pytest.mark.parametrize("weakness", [Weakness.FILE, Weakness.FOLDER])
def test_the_rig_finds_what_is_weakened_of_a_folder(record, replay, weakness):
    weak = {"weakness": weakness}
    findings = replay(
        record((PART_ROWS, weak), (ROWS // 2, weak), output={"rows_per_file": PART_ROWS}), WEAK_STATES // 2, UNPUBLISHED
    )
    assert findings.wrong[UNPUBLISHED], str(findings)


@needs_strace
def test_the_command_line_resumes_what_a_power_loss_left(record, server, work, tmp_path):
    """As above, but through `batchgen run` itself: it finishes, and buys nothing again that was acknowledged."""
    recording = record((ROWS, {"kill": KILLED_AT}), (ROWS, {}), (MORE_ROWS, {}))
    asked = prompts(MORE_ROWS)
    prompt_of = dict(zip(keys(asked), asked, strict=True))
    for number, (files, known) in enumerate(sample(recording, SEED, RESUMED)):
        after = Work(tmp_path / f"after.{number}")
        after.folder.mkdir()
        lay_out(after.folder, files)
        after.write(asked)
        before = server.settled()["prompts"]

        code, summary, said = run(after, server.url)

        assert (code, summary.get("ok")) == (0, MORE_ROWS), said
        bought = {prompt for prompt, times in server.settled()["prompts"].items() if times > before.get(prompt, 0)}
        assert not [prompt_of[key] for key in known.answers if digest(prompt_of[key]) in bought]


@needs_strace
@pytest.mark.parametrize(
    ("weakness", "found"),
    [
        (Weakness.NORMAL, LOST),
        (Weakness.OFF, LOST),
        (Weakness.EARLY, LOST),
        (Weakness.FILE, UNPUBLISHED),
        (Weakness.FOLDER, UNPUBLISHED),
    ],
)
def test_the_rig_finds_what_is_weakened(record, replay, weakness, found):
    """Two runs, each of which publishes; the same rig, the same model, one thing left out by the driver."""
    weak = {"weakness": weakness, "log_pages": SHORT_LOG}
    findings = replay(record((ROWS // 2, weak), (ROWS, weak)), WEAK_STATES, found)
    assert findings.wrong[found], str(findings)


def test_a_mark_of_what_is_in_flight_is_whole_or_absent(tmp_path):
    """The marks are never synced. One that is half of a row's and half of another's would have an answer bought
    again: the next run would record an attempt at its row as lost, after the one that was answered."""
    slots, path, chance = 256, tmp_path / "job.flight", random.Random(SEED)
    flight, disk, begun = InFlightLog(path, slots), File(), {}
    for attempt in (2, 1, 1):  # every slot is always taken: first by rows that are tried again, then by new ones
        for slot in range(slots):
            key = chance.randbytes(16)
            begun[key] = attempt
            flight.end(slot)
            flight.begin(slot, key, attempt)
            disk.write(len(begun), 0, path.read_bytes())
    flight.close()
    mixed = set()
    for _ in range(300):
        path.write_bytes(disk.crashed(Fate.TORN, chance))
        mixed |= {(key.hex(), attempt) for key, attempt in leftovers(path) if begun.get(key, attempt) != attempt}
    assert not mixed


def test_a_torn_file_has_old_and_new_sectors_only():
    chance, file = random.Random(SEED), File()
    file.write(0, 0, b"a" * 4 * SECTOR)
    file.sync(1)
    file.write(1, SECTOR, b"b" * 2 * SECTOR)
    file.write(2, SECTOR // 2, b"c" * SECTOR)
    old, half = b"a" * SECTOR, SECTOR // 2
    versions = [
        {old, b"a" * half + b"c" * half},
        {old, b"b" * SECTOR, b"c" * half + b"b" * half},
        {old, b"b" * SECTOR},
        {old},
    ]
    seen = [set() for _ in versions]
    for _ in range(300):
        data = file.crashed(Fate.TORN, chance)
        for at, sectors in enumerate(seen):
            sectors.add(data[at * SECTOR : (at + 1) * SECTOR])
    assert seen == versions
    assert file.crashed(Fate.LOST, chance) == old * 4
    assert file.crashed(Fate.KEPT, chance) == bytes(file.live)


def test_what_is_synced_stays_whatever_befalls_the_rest():
    chance, file = random.Random(SEED), File()
    file.write(0, 0, b"a" * 1000)
    file.truncate(1, 700)
    file.sync(2)
    for fate in Fate:
        assert file.crashed(fate, chance) == b"a" * 700
    file.write(2, 700, b"b" * 2000)
    for fate in [*Fate] * 20:
        assert file.crashed(fate, chance)[:700] == b"a" * 700
    file.truncate(3, 100)
    file.write(4, 600, b"c")
    file.sync(5)
    assert file.crashed(Fate.TORN, chance) == b"a" * 100 + bytes(500) + b"c"
