"""`input.where`: the rows that are the job's, by a condition; each keeps its number in the file."""

import datetime as dt
import re

import polars as pl
import pytest

from batchgen.errors import UsageError
from batchgen.input import csv_records
from batchgen.input.source import open_source
from batchgen.job.sections import Input

CONTENT = (
    "price,category,First Name,day\n1,a,x,2026-01-01\n20,b,y,2026-02-01\n30,gift cards,z,2026-03-01\n40,,z,2026-04-01\n"
)


def opened(folder, where, **spec):
    (folder / "in.csv").write_text(CONTENT, encoding="utf-8")
    spec = {"path": "in.csv", "schema": {"price": "Float64", "day": "Date"}, "where": where, **spec}
    return open_source(Input.model_validate(spec, context={"folder": folder}))


@pytest.fixture(params=[4096, 1], ids=["a batch", "a row a batch"], autouse=True)
def batch(request, monkeypatch):
    monkeypatch.setattr(csv_records, "BATCH_ROWS", request.param)


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ("price > 10 and category <> 'gift cards'", [2]),
        ("price > 10", [2, 3, 4]),
        ("category is null or category = 'a'", [1, 4]),
        ("\"First Name\" = 'z'", [3, 4]),
        ("category in ('a', 'b') and not price > 10", [1]),
        ("category like '%card%'", [3]),
        ("day >= date('2026-03-01')", [3, 4]),
        ("case when price > 30 then true else false end", [4]),
        ("length(category) = 1", [1, 2]),
        ("true", [1, 2, 3, 4]),
        ("price < 0", []),
    ],
)
def test_rows_that_meet_it_keep_their_numbers(tmp_path, where, numbers):
    found = list(opened(tmp_path, where).numbered())
    assert [number for batch in found for number in batch.numbers] == numbers
    prices = [1.0, 20.0, 30.0, 40.0]
    assert [price for batch in found for price in batch.frame["price"]] == [prices[number - 1] for number in numbers]


@pytest.mark.parametrize(
    ("spec", "numbers"),
    [
        ({"limit": 2}, [2, 3]),
        ({"shard": "1/2"}, [2, 4]),
        ({"shard": "2/2"}, [3]),
        ({"shard": "2/2", "limit": 1}, []),
        ({"limit": 9}, [2, 3, 4]),
    ],
)
def test_limit_and_shard_are_of_the_rows_that_meet_it(tmp_path, spec, numbers):
    found = opened(tmp_path, "price > 10", **spec).numbered()
    assert [number for batch in found for number in batch.numbers] == numbers


def test_it_knows_new_names_and_folders_columns(tmp_path):
    (tmp_path / "in" / "region=eu").mkdir(parents=True)
    (tmp_path / "in" / "region=us").mkdir()
    for region in ("eu", "us"):
        (tmp_path / "in" / f"region={region}" / "a.csv").write_text("text\n1\n2\n")
    spec = {"path": "in", "rename": {"text": "n"}, "schema": {"text": "Int64"}, "where": "n = 2 and region = 'us'"}
    source = open_source(Input.model_validate(spec, context={"folder": tmp_path}))
    assert pl.concat(source.batches()).to_dicts() == [{"n": 2, "region": "us"}]
    assert [batch.numbers.to_list() for batch in source.numbered()] == [[4]]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("prise > 1", "the input has no column 'prise'; did you mean price?"),
        ("Category = 'a'", "the input has no column 'Category'; did you mean category?"),
        ("\"first name\" = 'z'", "the input has no column 'first name'; did you mean \"First Name\"?"),
        ('category = "gift"', "the input has no column 'gift'; its columns: price, category, First Name, day (put text in 'single quotes')"),
        ("price >", "unable to parse 'price >' as Expr; a name with blanks or signs is put in double quotes: \"First Name\""),
        ("First Name = 'z'", "invalid expression (found unexpected token '='); a name with blanks or signs is put in double quotes: \"First Name\""),
        ("price (EUR) > 1", "unsupported function 'price'"),
        ("price > 1; drop table x", "invalid expression"),
        ("price", "'price' is not a condition that is true or false"),
        ("'x'", "is not a condition"),
        ("category > 5", "a text is compared with a number: "),
        ("day > '2026-01-01'", "a date is compared with a text: write date('2026-01-31')"),
        ("price > avg(price)", "looks at each row alone"),
        ("count(*) > 1", "looks at each row alone"),
        ("row_number() over (order by price) = 1", "looks at each row alone"),
        ("rank() over (order by price) = 1", "looks at each row alone"),
        ("lag(price) over (order by price) > 1", "looks at each row alone"),
        ("price in (select 1)", "looks at each row alone"),
        ("category ~ '('", "regex"),
        ("category is distinct from 'a' and price > 1", "put each 'a is distinct from b' into parentheses"),
    ],
)  # fmt: skip
def test_a_condition_that_is_none_is_refused_before_a_row_is_read(tmp_path, where, said):
    with pytest.raises(UsageError, match=f"^input.where: .*{re.escape(said)}"):
        opened(tmp_path, where)


@pytest.mark.parametrize(
    ("where", "example"),
    [
        ("Preis (€) > 10", 'in double quotes: "Preis (€)"'),
        ("Preis (EUR) > 10", 'in double quotes: "Preis (EUR)"'),
        ("\"Artikel-Nr\" = '3' and Preis (EUR) > 10", 'in double quotes: "Preis (EUR)"'),
        ('"Preis (EUR)" > 10 and "Artikel-Nr" = "Preis (€)" and', "as Expr"),
    ],
)
def test_a_name_that_needs_quotes_is_shown_with_them(tmp_path, where, example):
    (tmp_path / "in.csv").write_text("sku,Artikel-Nr,Preis (EUR),Preis (€)\n1,3,4,4\n", encoding="utf-8")
    spec = {"path": "in.csv", "schema": {"Preis (EUR)": "Float64"}, "where": where}
    with pytest.raises(UsageError, match=f"^input.where: .*{re.escape(example)}$"):
        open_source(Input.model_validate(spec, context={"folder": tmp_path}))


def test_a_row_that_it_fails_at_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"in\.csv: row 1: input\.where: .*conversion from `str` to `i32` failed"):
        list(opened(tmp_path, "cast(category as int) > 1").batches())


def test_a_column_may_be_called_as_an_aggregate(tmp_path):
    source = opened(tmp_path, '"Len" = \'a\' and "Agg" > 1', rename={"category": "Len", "price": "Agg"})
    assert list(source.batches()) == []


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ("vip is not true", [2, 3]),
        ("vip is not false", [1, 3]),
        ("not (vip is true)", [2, 3]),
        ("not vip IS\n FALSE or name = 'is true'", [1, 3]),
        ("name = 'it''s is not true'", []),
        ("small > 10 is not true and vip is not false", [1, 3]),
        ("name like 'a%' is true", [2]),
        ("name rlike 'long' is true and vip is not true", [2]),
        ("(name like 'a%') is not true", [1, 3]),
        ("(vip is distinct from true) and large > 0", [2]),
        ("small - 100 > 0", [2]),
        ("100 - small < 0", [2]),
        ("-small < -100", [2]),
        ("small * small = 40000", [2]),
        ("large - 5 > 0", [2]),
        ("length(name) - 3 > 0", [2]),
        ("strpos(name, 'o') - 1 >= 0", [1, 2]),
        ("extract(day from day) * 10 > 200", [2]),
        ("abs(length(name) - 2) = 0 and small + 0.5 < 2", [1]),
        ("small / (small - 1) > 5", [1]),
        ("(small - 1) / (small - 1) > 5", [1]),
        ("small / nullif(small - 1, 0) > 1", [2]),
    ],
)
def test_what_is_true_and_what_a_number_is_does_not_depend_on_polars(tmp_path, where, numbers):
    table = pl.DataFrame(
        {
            "vip": [True, False, None],
            "name": ["no", "a long one", None],
            "small": pl.Series([1, 200, None], dtype=pl.UInt8),
            "large": pl.Series([1, 2**64 - 1, None], dtype=pl.UInt64),
            "day": [dt.date(2026, 1, 3), dt.date(2026, 1, 26), None],
        }
    )
    table.write_parquet(tmp_path / "in.parquet")
    source = open_source(Input.model_validate({"path": "in.parquet", "where": where}, context={"folder": tmp_path}))
    assert [number for batch in source.numbered() for number in batch.numbers] == numbers


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ("at >= date('2026-01-02')", [2, 3]),
        ("date('2026-01-02') > at", [1]),
        ("at between date('2026-01-02') and date('2026-01-02')", []),
        ("at = date('2026-01-03') or at in (date('2026-01-01'), date('2026-01-05'))", [3]),
        ("at::date = date('2026-01-02')", [2]),
        ("cast(at as date) <> day", [1]),
        ("try_cast(at as date) is distinct from day", [1, 4]),
        ("at::time < '01:00:00'::time", [2, 3]),
        ("extract(hour from at) = 0", [2, 3]),
        ("at > day", [2]),
        ("other::time = '23:30:00'::time", [2]),
        ("plain >= date('2026-01-02')", [3]),
    ],
)
def test_a_day_is_the_one_that_the_clock_of_its_zone_shows(tmp_path, where, numbers):
    """As prompts print it. In UTC, a moment shortly after midnight in Berlin is of the day before."""
    moments = [dt.datetime(2026, 1, 1, 22, 30), dt.datetime(2026, 1, 1, 23, 30), dt.datetime(2026, 1, 2, 23), None]  # noqa: DTZ001
    plain = pl.Series("plain", moments)
    other = plain.dt.replace_time_zone("UTC").alias("other")
    day = pl.Series("day", [dt.date(2026, 1, number) for number in (2, 2, 3, 3)])
    at = other.dt.convert_time_zone("Europe/Berlin").alias("at")
    pl.DataFrame([plain, other, at, day]).write_parquet(tmp_path / "in.parquet")
    source = open_source(Input.model_validate({"path": "in.parquet", "where": where}, context={"folder": tmp_path}))
    assert [number for batch in source.numbered() for number in batch.numbers] == numbers


@pytest.mark.parametrize("of", ["name like 'a%'", "name RLIKE name", "name ilike 'a%' or name regexp 'it''s'"])
def test_a_pattern_before_is_not_true_needs_parentheses(tmp_path, of):
    """polars would take the pattern for part of the comparison."""
    pl.DataFrame({"name": ["no"]}).write_parquet(tmp_path / "in.parquet")
    where = {"path": "in.parquet", "where": f"{of} is not true"}
    with pytest.raises(UsageError, match="put what comes before 'is not true' into parentheses"):
        open_source(Input.model_validate(where, context={"folder": tmp_path}))


def test_a_job_of_some_rows(job, called, service):
    rows = [{"id": str(n), "name": name, "n": n} for n, name in enumerate(["tent", "", "pan", "lamp"])]
    path = job(rows, input={"where": "n <> 2", "schema": {"n": "Int64"}}, priority="n")
    ended = called("plan", path)
    assert ended.returncode == 2
    assert "name is missing or empty: row 2 (1)" in ended.stderr
    path = job(rows, input={"where": "n > 1", "schema": {"n": "Int64"}}, priority="n")
    assert called("run", path).returncode == 0
    assert sorted(service.asked) == ["Write about lamp.", "Write about pan."]
    assert [row["id"] for row in job.rows()] == ["2", "3"]
    assert "input.where" in called("plan", job(rows, input={"where": "m > 1"})).stderr
