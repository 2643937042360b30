"""The index of what the checkpoint knows, against a plain dictionary."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.checkpoint import index as index_module
from batchgen.checkpoint.index import Index, State, split
from batchgen.checkpoint.schema import OK

KEYS = st.sampled_from(range(1, 256, 6)).map(lambda n: n.to_bytes(8, "little") + (n * 7919).to_bytes(8, "big"))
OUTCOMES = st.sampled_from([OK, "transient", "invalid", "unanswered", "interrupted"])


@st.composite
def attempts(draw) -> list[tuple[bytes, int, str, int, int]]:
    """(key, id, outcome, final, requests sent), with ids that grow, by id, as the reader tells them."""
    rows = draw(st.lists(st.tuples(KEYS, OUTCOMES, st.integers(0, 1), st.integers(1, 3)), max_size=60))
    ids = sorted(draw(st.sets(st.integers(1, 2**40), min_size=len(rows), max_size=len(rows))))
    return [(key, id_, outcome, final, sent) for id_, (key, outcome, final, sent) in zip(ids, rows, strict=True)]


def expected(told: list[tuple[bytes, int, str, int, int]], floor: int) -> dict[bytes, tuple[int, int, int]]:
    """Key -> (record, state, attempts), by the newest answer of each, else its last attempt."""
    known: dict[bytes, tuple[int, int, int]] = {}
    for key, id_, outcome, final, sent in sorted(told, key=lambda row: row[1]):
        if id_ <= floor:
            state = State.NEW
        elif outcome == OK:
            state = State.DONE
        else:
            state = (
                State.FAILED if final and outcome != "interrupted" else State.OPEN
            )  # no kind of failure: not its end
        before = known.get(key)
        if before and before[1] == State.DONE and state != State.DONE and outcome != "damaged":
            known[key] = (*before[:2], sent)
        else:
            known[key] = (id_, int(state), sent)
    return known


def found(index: Index, keys: list[bytes]) -> list[tuple[int, int, int]]:
    frame = index.find(**split(b"".join(keys)))
    assert frame.columns == ["record", "state", "attempts"]
    assert frame.dtypes == [pl.Int64, pl.UInt8, pl.UInt32]
    return frame.rows()


def in_parts(told: list[tuple[bytes, int, str, int, int]], floor: int) -> Index:
    """The index of the same attempts, where rows' first attempts that were answers come as joined keys, in two parts."""
    first = [(key, id_) for key, id_, outcome, _, sent in told if (outcome, sent) == (OK, 1)]
    half = len(first) // 2
    joined = [(b"".join(key for key, _ in some), [id_ for _, id_ in some]) for some in (first[:half], first[half:])]
    return Index([one for one in told if (one[2], one[4]) != (OK, 1)], floor, joined)


@given(attempts(), st.lists(KEYS, max_size=60), st.sampled_from([0, 2**20, 2**39, 2**41]))
@settings(deadline=None, max_examples=150)
def test_it_finds_what_a_dictionary_finds(told, asked, floor):
    known = expected(told, floor)
    asked = [*asked, *known]
    for index in (Index(told, floor), in_parts(told, floor)):
        assert found(index, asked) == [known.get(key, (0, 0, 0)) for key in asked]
        assert index.done() == sum(state == State.DONE for _, state, _ in known.values())


def test_keys_that_are_looked_up_in_parts_are_found_in_their_order(monkeypatch):
    monkeypatch.setattr(index_module, "KEYS_PER_LOOKUP", 3)
    keys = [bytes([n]) * 16 for n in (7, 1, 9, 4, 2, 8, 3)]
    told = [(key, n, OK, 1, n) for n, key in enumerate(keys, 1)]
    asked = [*reversed(keys), b"?" * 16]
    assert found(Index(told, 0), asked) == [*((n, State.DONE, n) for n in range(7, 0, -1)), (0, State.NEW, 0)]


def frame_of(keys: list[bytes]) -> pl.DataFrame:
    return pl.DataFrame(split(b"".join(keys)))


@given(attempts(), st.lists(KEYS, max_size=60), st.sampled_from([0, 2**20, 2**39, 2**41]))
@settings(deadline=None)
def test_attempts_of_no_row_of_the_input(told, keys, floor):
    foreign = Index(told, floor).orphans(frame_of(keys)).to_list()
    assert sorted(foreign) == sorted(id_ for key, id_, *_ in told if key not in keys or id_ <= floor)


def test_the_newest_answer_wins_else_the_last_attempt():
    key = b"k" * 16
    outcomes = [
        ("transient", 0),
        ("invalid", 1),
        (OK, 1),
        ("invalid", 1),
        (OK, 1),
        ("transient", 0),
        ("damaged", 0),
        (OK, 1),
    ]
    told = [(key, number, outcome, final, number) for number, (outcome, final) in enumerate(outcomes, 1)]
    assert [found(Index(told[:count], 0), [key])[0] for count in range(9)] == [
        (0, State.NEW, 0),
        (1, State.OPEN, 1),
        (2, State.FAILED, 2),
        (3, State.DONE, 3),
        (3, State.DONE, 4),
        (5, State.DONE, 5),
        (5, State.DONE, 6),
        (7, State.OPEN, 7),
        (8, State.DONE, 8),
    ]
    assert found(Index(told[:6], 5), [key]) == [(6, State.OPEN, 6)], "answers up to the floor do not count"


def test_answers_up_to_the_floor_are_not_reused_and_still_counted():
    old, new = b"a" * 16, b"b" * 16
    told = [(old, 5, OK, 1, 4), (new, 6, OK, 1, 1)]
    assert found(Index(told, 5), [old, new]) == [(5, State.NEW, 4), (6, State.DONE, 1)]
    assert Index(told, 5).done() == 1
    assert Index(told, 6).done() == 0


def test_an_empty_checkpoint_knows_nothing():
    index = Index([], 0)
    assert found(index, [b"k" * 16, bytes(16)]) == [(0, 0, 0)] * 2
    assert found(index, []) == []
    assert index.done() == 0
    assert index.orphans(frame_of([b"k" * 16])).to_list() == []


def test_nothing_asked_is_nothing_found():
    assert found(Index([(b"k" * 16, 1, OK, 1, 1)], 0), []) == []


def test_a_key_of_which_half_is_known_is_unknown():
    index = Index([(b"a" * 8 + b"b" * 8, 1, OK, 1, 1)], 0)
    assert found(index, [b"a" * 8 + b"c" * 8, b"c" * 8 + b"b" * 8, b"b" * 8 + b"a" * 8]) == [(0, 0, 0)] * 3


def test_a_damaged_key_is_no_row_and_harms_no_other():
    whole = b"k" * 16
    told = [(b"", 1, OK, 1, 1), (b"short", 2, OK, 1, 1), (b"k" * 17, 3, OK, 1, 1), (whole, 4, OK, 1, 2)]
    assert found(Index(told, 0), [whole, b"short".ljust(16, b"\x00")]) == [(4, State.DONE, 2), (0, 0, 0)]


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20))
@settings(deadline=None)
def test_split_keeps_every_bit(keys):
    halves = split(b"".join(keys))
    assert halves["hi"].len() == halves["lo"].len() == len(keys)
    assert len(set(zip(halves["hi"], halves["lo"], strict=True))) == len(set(keys))
