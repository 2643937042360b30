"""The marks of what is in flight: they survive the process, and nothing else need they do."""

import os
import signal
import stat
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.durability import fill, small_disk

from batchgen.checkpoint.in_flight import InFlightLog, clear, leftovers
from batchgen.errors import MachineRefused

KEYS = [n.to_bytes(16, "big") for n in range(1, 200)]


def killed(act) -> None:
    """Forks a child that acts and kills itself, as hard as it goes."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_marks_survive_a_kill(tmp_path):
    path = tmp_path / "flight"

    def act() -> None:
        flight = InFlightLog(path, 64)
        for slot in range(64):
            flight.begin(slot, KEYS[slot], slot + 1)
        for slot in range(0, 64, 2):
            flight.end(slot)
        flight.begin(0, KEYS[100], 2**32 - 1)

    killed(act)
    odd = [(KEYS[slot], slot + 1) for slot in range(1, 64, 2)]
    assert leftovers(path) == [(KEYS[100], 2**32 - 1), *odd]
    assert leftovers(path) == [(KEYS[100], 2**32 - 1), *odd]  # reading takes nothing away


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.none() | st.integers(1, 9)), max_size=30))
def test_what_is_left_behind_is_what_was_begun_and_not_ended(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("marks") / "flight"
    wanted: dict[int, tuple[bytes, int]] = {}
    with closing(InFlightLog(path, 8)) as flight:
        for slot, attempt in steps:
            if attempt is None:
                flight.end(slot)
                wanted.pop(slot, None)
            else:
                flight.begin(slot, KEYS[slot], attempt)
                wanted[slot] = KEYS[slot], attempt
        assert leftovers(path) == [wanted[slot] for slot in sorted(wanted)]
    assert leftovers(path) == [wanted[slot] for slot in sorted(wanted)]


def test_nothing_is_left_behind_where_nothing_ran(tmp_path):
    path = tmp_path / "flight"
    assert leftovers(path) == []
    InFlightLog(path, 5).close()
    assert leftovers(path) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_flight_and_forgetting_clear_the_marks(tmp_path):
    path = tmp_path / "flight"
    for forget in (lambda: clear(path), lambda: InFlightLog(path, 2).close()):
        with closing(InFlightLog(path, 9)) as flight:
            flight.begin(8, KEYS[0], 1)
        assert leftovers(path) == [(KEYS[0], 1)]
        forget()
        assert leftovers(path) == []
    clear(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("marks", [0, 1])
@pytest.mark.parametrize("more", [0, 1, -1])
def test_a_file_that_was_cut_gives_its_whole_marks(tmp_path, marks, more):
    path = tmp_path / "flight"
    with closing(InFlightLog(path, 3)) as flight:
        for slot in range(3):
            flight.begin(slot, KEYS[slot], 1)
    size = path.stat().st_size // 3
    os.truncate(path, max(0, marks * size + more))
    assert leftovers(path) == [(KEYS[0], 1)][: max(0, marks * size + more) // size]


def test_a_file_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path, tmp_path / "none" / "flight", tmp_path / "link"):
        with pytest.raises(MachineRefused) as refused:
            InFlightLog(path, 4)
        assert refused.value.exit_code == 5
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_a_full_disk_is_told_at_the_start_and_kills_nobody_later(tmp_path):
    """A mapped page that cannot be had is a SIGBUS when it is touched: it must be had beforehand."""
    with small_disk(tmp_path / "disk", 1 << 18) as disk:
        path = disk / "flight"
        with closing(InFlightLog(path, 1000)) as flight:
            fill(disk)
            for slot in range(1000):
                flight.begin(slot, KEYS[slot % 100], 1)
        path.unlink()
        fill(disk)
        with pytest.raises(MachineRefused, match="space"):
            InFlightLog(path, 1000)
