"""The template: names and nulls refused before anything is sent, cells printed byte for byte and never evaluated."""

import datetime as dt
import subprocess
import sys
import time
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.errors import UsageError
from batchgen.rows import prompt
from batchgen.rows.prompt import PromptError, Template


def rendered(text: str, dtypes: dict | None = None, **cells: object) -> str:
    """The prompt of one row with these cells."""
    frame = pl.DataFrame({name: [cell] for name, cell in cells.items()}, schema_overrides=dtypes)
    template = Template(text, dict(frame.schema))
    (row,) = template.cells(frame) if cells else [()]
    return template.render(row)


# Names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("{{ nmae }}", "prompt: line 1: unknown name 'nmae'; did you mean name?", id="a near miss"),
        pytest.param("a\n\nb {{ Name }}", "prompt: line 3: unknown name 'Name'; did you mean name?", id="capitals, line 3"),
        pytest.param("{{ zzz }}", "prompt: line 1: unknown name 'zzz'; the input's columns: name, price", id="unlike all"),
        pytest.param("An article\n{{ art }}", "prompt: line 2: unknown name 'art'", id="a name that is part of a word before"),
        pytest.param("nmae:\n{{ nmae }}", "prompt: line 2: unknown name 'nmae'", id="a name that is a word before"),
        pytest.param("{% if zzz %}a{% endif %}", "prompt: line 1: unknown name 'zzz'", id="in a condition"),
        pytest.param("{% for x in zzz %}a{% endfor %}", "prompt: line 1: unknown name 'zzz'", id="in a loop"),
        pytest.param("{{ zzz is defined }}", "prompt: line 1: unknown name 'zzz'", id="asked whether it is defined"),
        pytest.param("{{ zzz or 'a' }}", "prompt: line 1: unknown name 'zzz'", id="with something instead"),
        pytest.param("{% if false %}{{ zzz }}{% endif %}", "prompt: line 1: unknown name 'zzz'", id="where it is never printed"),
        pytest.param("{% if name %}\n{{ name }}", "prompt: line 2: syntax error", id="an if without its end"),
        pytest.param("a\n{{ name", "prompt: line 2: syntax error", id="braces without their end"),
        pytest.param("a\n{{ name }\n}", "prompt: line 2: syntax error", id="braces apart"),
        pytest.param("a\n{% nonsense %}", "prompt: line 2: syntax error", id="a statement that there is none"),
    ],
)  # fmt: skip
def test_a_template_that_is_refused(text, said):
    with pytest.raises(UsageError) as told:
        Template(text, {"name": pl.String(), "price": pl.Float64()})
    assert str(told.value).startswith(said)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_an_input_that_is_separated_by_something_else(mark):
    with pytest.raises(UsageError, match="separated by something other than commas"):
        Template("{{ name }}", {f"sku{mark}name{mark}price": pl.String()})


def test_names_that_the_template_itself_gives_are_no_columns():
    text = "{% set x = 'a' %}{% for y in ['b'] %}{{ x ~ y ~ loop.index }}{% endfor %}"
    template = Template(text, {"name": pl.String()})
    assert template.names == []
    assert template.render(()) == "ab1"


@pytest.mark.parametrize(
    "name",
    ["range", "dict", "namespace", "debug", "cycler", "joiner", "lipsum", "self", "loop", "super", "caller", "kwargs",
     "template_name", "template", "name", "context", "env", "_", "a1", "Grüße"],
)  # fmt: skip
def test_a_column_of_any_name_is_the_column_or_refused_at_once(name):
    try:
        Template(f"{{{{ {name} }}}}", {name: pl.String()})
    except UsageError as refused:
        assert name in str(refused)  # noqa: PT017  either will do, but nothing else may be printed
    else:
        assert rendered(f"{{{{ {name} }}}}", **{name: "the cell"}) == "the cell"


def test_only_the_columns_that_are_used_are_read():
    frame = pl.DataFrame({"a": ["x"], "b": [b"bytes"], "c": ["y"]})
    template = Template("{{ c }}{{ a }}", dict(frame.schema))
    assert template.names == ["a", "c"]
    assert [template.render(row) for row in template.cells(frame)] == ["yx"]


def test_a_template_without_names_is_the_same_for_every_row():
    template = Template("Hello", {"a": pl.String()})
    assert [template.render(row) for row in template.cells(pl.DataFrame({"a": ["x", None]}))] == ["Hello", "Hello"]


def test_columns_of_bytes_are_no_text():
    with pytest.raises(UsageError, match="prompt: column 'a' holds bytes"):
        Template("{{ a }}", {"a": pl.Binary()})


# Cells are inert


@given(st.text(min_size=1))
@settings(deadline=None, max_examples=300)
def test_a_cell_stands_in_the_prompt_byte_for_byte(cell):
    if cell.isspace():
        with pytest.raises(PromptError, match="empty"):
            rendered("{{ a }}", a=cell)
    else:
        assert rendered("{{ a }}", a=cell) == cell
    assert rendered("<{{ a }}>{{ a }}", a=cell) == f"<{cell}>{cell}"


@pytest.mark.parametrize(
    "cell",
    ["{{ 7*7 }}", "{% for x in range(9) %}x{% endfor %}", "{# hidden #}", "{{ a }}", "{{", "%}", "{% raw %}", "<b>&amp;\"'</b>",
     "\\n", "$HOME `id`", "a\r\nb\r", "\x00\x1b[31m", "\ufeffa", "🏕️ Zürich", "  a  ", "007", "1e3", "a" * 1_000_000],
)  # fmt: skip
def test_what_stands_in_a_cell_is_text(cell):
    assert rendered("{{ a }}", a=cell) == cell
    assert rendered("{{ s.k }}{{ xs[0] }}", s={"k": cell}, xs=[cell]) == cell + cell


@pytest.mark.parametrize(
    ("value", "dtype", "shown"),
    [
        (12, pl.Int64, "12"),
        (2**63 - 1, pl.Int64, "9223372036854775807"),
        (2**64 - 1, pl.UInt64, "18446744073709551615"),
        (-(2**63), pl.Int64, "-9223372036854775808"),
        (0, pl.Int8, "0"),
        (0.1, pl.Float64, "0.1"),
        (12.0, pl.Float64, "12.0"),
        (Decimal("1.50"), pl.Decimal(10, 2), "1.50"),
        (Decimal("-0.001"), pl.Decimal(38, 3), "-0.001"),
        (Decimal(12345678901234567890), pl.Decimal(38, 0), "12345678901234567890"),
        (dt.date(2024, 2, 29), pl.Date, "2024-02-29"),
        (dt.datetime(2024, 2, 29, 13, 5, 7), pl.Datetime("us"), "2024-02-29 13:05:07"),  # noqa: DTZ001  without a zone
        (dt.time(13, 5), pl.Time, "13:05:00"),
        ("007", pl.String, "007"),
        ("red", pl.Categorical, "red"),
    ],
    ids=repr,
)
def test_how_a_value_is_shown(value, dtype, shown):
    assert rendered("{{ a }}", {"a": dtype}, a=value) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param('{{ "%.2f" | format(price) }}', "12.50", id="a number with its zeros"),
        pytest.param("{{ tags | join(', ') }}", "a, b", id="a list"),
        pytest.param("{% for tag in tags %}[{{ tag }}]{% endfor %}", "[a][b]", id="a loop"),
        pytest.param("{{ box.size }} {{ box['size'] }}", "3 3", id="a struct's field"),
        pytest.param("{{ name | upper }} {{ name | length }}", "ÄÖ 2", id="filters"),
        pytest.param("{{ name ~ price }}", "äö12.5", id="concatenation"),
        pytest.param("{% if price > 12 %}dear{% else %}cheap{% endif %}", "dear", id="a comparison"),
        pytest.param("{{ 'x' if name is defined and name is not none and name is not undefined }}", "x", id="what is there is defined"),
        pytest.param("{{ name | default('x') }}{{ name or 'y' }}", "äöäö", id="what is there needs nothing instead"),
        pytest.param("{{ zero | default('x') }}{{ zero | default('y', true) }}", "0y", id="false is not null"),
        pytest.param("a\n{% if name %}b\n{% endif %}c", "a\nb\nc", id="lines as they stand"),
    ],
)  # fmt: skip
def test_what_a_template_can_do(text, shown):
    cells = {"price": 12.5, "tags": ["a", "b"], "box": {"size": 3}, "name": "äö", "zero": 0}
    # trim_blocks is not Jinja's default: a statement's own line end stays
    assert rendered(text, **cells).replace("\n\n", "\n") == shown


# Nulls

PRINTED = [
    "{{ a }}",
    "x {{ a }} y",
    "{{ a | upper }}",
    "{{ a | trim }}",
    "{{ a | title }}",
    "{{ a | string }}",
    "{{ a | safe }}",
    "{{ a | e }}",
    "{{ a | tojson }}",
    "{{ a | pprint }}",
    "{{ a | urlencode }}",
    "{{ a | indent }}",
    "{{ a | replace('x', 'y') }}",
    "{{ a | length }}",
    "{{ a | list }}",
    "{{ a | first }}",
    "{{ a | int }}",
    "{{ a | float }}",
    "{{ a | abs }}",
    "{{ a | round }}",
    "{{ a | default(a) }}",
    "{{ '%s' | format(a) }}",
    "{{ a ~ 'x' }}",
    "{{ 'x' ~ a }}",
    "{{ a + 1 }}",
    "{{ 'x' + a }}",
    "{{ -a }}",
    "{{ a.x }}",
    "{{ a[0] }}",
    "{{ a.upper() }}",
    "{{ [a] }}",
    "{{ [1, a] | join(',') }}",
    "{{ {'k': a} }}",
    "{{ {'k': a}.k }}",
    "{% set b = a %}{{ b }}",
    "{% with b = a %}{{ b }}{% endwith %}",
    "{% filter upper %}{{ a }}{% endfilter %}",
    "{% macro m(b) %}{{ b }}{% endmacro %}{{ m(a) }}",
    "{% for x in [a] %}{{ x }}{% endfor %}",
    "{% for x in a %}{{ x }}{% endfor %}x",
    "{% if true %}{{ a }}{% endif %}",
    "{{ a if true else 'x' }}",
    "{{ none or a }}",
    "{{ a or a }}",
    "{{ a and 'x' }}",
    "{{ a > 5 }}",
    "{{ 'dear' if a > 100 else 'cheap' }}",
    "{% if a < 100 %}cheap{% else %}dear{% endif %}",
    "{{ a in 'xyz' }}",
    "x{{ a.take_shown() }}",
    "{{ a }}{% if a.take_shown() %}{% endif %}x",
]


@pytest.mark.parametrize("text", PRINTED)
@pytest.mark.parametrize("dtype", [pl.String, pl.Float64], ids=["text", "number"])
def test_a_null_that_reaches_the_prompt_is_refused(text, dtype):
    with pytest.raises(PromptError, match=r"\ba\b") as told:
        rendered(text, {"a": dtype}, a=None)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "text",
    [
        "{{ xs }}",
        "{{ xs | join(',') }}",
        "{{ xs | tojson }}",
        "{{ xs | first }}",
        "{{ xs | string }}",
        "{{ xs ~ '' }}",
        "{{ xs[0] }}",
        "{{ xs | map('upper') | join }}",
        "{{ xs | sort | join }}",
        "{{ xs | unique | join }}",
        "{{ xs | reverse | join }}",
        "{% for x in xs %}{{ x }}{% endfor %}",
        "{{ s }}",
        "{{ s.k }}",
        "{{ s['k'] }}",
        "{{ s | tojson }}",
        "{{ s | items }}",
        "{{ s | dictsort }}",
        "{{ s.inner.deep }}",
        "{{ s.inner }}",
    ],
)
def test_a_null_within_a_value_is_refused(text):
    with pytest.raises(PromptError, match=r"(xs\[\]|s\.k|s\.inner\.deep) .*missing or empty"):
        rendered(text, xs=[None, "b"], s={"k": None, "j": "v", "inner": {"deep": None}})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{{ a or 'x' }}", "x"),
        ("{{ a or b or 'x' }}", "x"),
        ("{{ b or 'x' }}", "x"),
        ("{% if a %}{{ a }}{% else %}x{% endif %}", "x"),
        ("{% if not a %}x{% endif %}", "x"),
        ("x{% if a %}: {{ a }}{% endif %}", "x"),
        ("{{ a if a else 'x' }}", "x"),
        ("{{ a | default('x') }}", "x"),
        ("{{ a | d('x') }}", "x"),
        ("{{ a | default('x', true) }}", "x"),
        ("x{{ a | default }}", "x"),
        ("{{ a | default('x') | upper }}", "X"),
        ("{{ 'x' if a is none else a }}", "x"),
        ("{{ a if a is not none else 'x' }}", "x"),
        ("{{ a if a is defined else 'x' }}", "x"),
        ("{{ 'x' if a is undefined else a }}", "x"),
        ("{{ 'x' if a is not defined else a }}", "x"),
        ("{% if a and a > 100 %}dear{% else %}x{% endif %}", "x"),
        ("{{ xs | select | join(',') }}", "b"),
        ("{{ xs | reject('none') | join(',') }}", "b"),
        ("{{ xs | length }}", "2"),
        ("{% for x in xs if x is not none %}{{ x }}{% endfor %}", "b"),
        ("{{ s.k or 'x' }}", "x"),
        ("{{ s.k | default('x') }}", "x"),
        ("{{ s.j }}", "v"),
        ("{{ a | bool }}", "False"),
    ],
)
def test_a_null_that_the_template_handles(text, shown):
    cells = {"a": None, "b": None, "xs": [None, "b"], "s": {"k": None, "j": "v"}}
    assert rendered(text, {"a": pl.String, "b": pl.Int64}, **cells) == shown


def test_each_row_is_judged_by_its_own_nulls():
    frame = pl.DataFrame({"a": ["1", None, None, "4"], "b": ["x", "y", None, None]})
    template = Template("{{ a }}{{ b }}", dict(frame.schema))
    said = []
    for row in template.cells(frame):
        try:
            said.append(template.render(row))
        except PromptError as error:
            said.append(str(error))
    assert said == ["1x", "a is missing or empty", "a, b is missing or empty", "b is missing or empty"]


PIECES = st.sampled_from(
    ["{{ a }}", "{{b}}", "{{ a}}", "{{a }}", "{{  a }}", "{{ a|upper }}", "{{- a }}", "{% if a %}", "{% endif %}", "{# c #}", "{", "}", "}}", "{{",
     "\n", "\r", "\r\n", " ", "text", "{{ true }}", "{{ 'a' }}", "{{ loop }}", "é\u2028", "%}", "{ {", "{{ a }"]
)  # fmt: skip
CELLS = st.none() | st.text(max_size=5) | st.sampled_from(["{{ b }}", "\n", " ", "\x1c", "\u200b", "\x00"])


@given(pieces=st.lists(PIECES, max_size=6), rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4))
@settings(deadline=None, max_examples=500)
def test_a_template_of_texts_and_columns_is_joined_as_it_would_be_rendered(pieces, rows):
    """What polars joins, or leaves to the engine, is what the engine makes of every row."""
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String}, orient="row")
    try:
        template = Template("".join(pieces), dict(frame.schema))
    except UsageError:
        return
    made = [str(said) for said in template.prompts(frame)]
    template._joins = []
    assert made == [str(said) for said in template.prompts(frame)]


def test_columns_of_text_are_joined():
    frame = pl.DataFrame({"a": ["x", "y"], "n": [1, 2]})
    assert [
        bool(Template(text, dict(frame.schema))._joins) for text in ("{{ a }}!", "{{ n }}!", "{{ a | upper }}")
    ] == [
        True,
        False,
        False,
    ]


def test_not_a_number_is_as_good_as_nothing():
    with pytest.raises(PromptError, match="a is missing or empty"):
        rendered("{{ a }}", a=float("nan"))
    assert rendered("{{ a or 'x' }}", a=float("nan")) == "x"


# What a template may not do


@pytest.mark.parametrize(
    "text",
    [
        "{{ a.__class__ }}",
        "{{ a['__class__'] }}",
        "{{ a | attr('__class__') }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ d.__class__ }}",
        "{{ d | attr('__init__') }}",
        "{{ d.__reduce__() }}",
        "{{ range.__globals__ }}",
        "{{ self.__dict__ }}",
        "{{ loop.__class__ }}",
        "{{ a.no_such }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os }}",
        "{% extends 'prompt' %}",
    ],
)
def test_attributes_and_files_are_out_of_reach(text):
    with pytest.raises((PromptError, UsageError)) as told:
        rendered("x" + text, a="text", d=dt.date(2024, 2, 29))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("text", ["", " ", "\n\n", "{{ a if false }}", "{# a comment #}", "{% if not a %}x{% endif %}"])
def test_a_prompt_with_nothing_in_it(text):
    with pytest.raises(PromptError, match="the prompt is empty"):
        rendered(text, a="x")


def test_a_prompt_may_not_grow_without_end():
    cell = "x" * (prompt.MAX_PROMPT_CHARS // 2)
    assert len(rendered("{{ a }}{{ a }}", a=cell)) == prompt.MAX_PROMPT_CHARS
    with pytest.raises(PromptError, match="longer than 16,777,216 characters"):
        rendered("{{ a }}{{ a }}.", a=cell)


GROWS = """
import resource, sys
import polars as pl
from batchgen.rows.prompt import Template
frame = pl.DataFrame({"a": ["x" * int(sys.argv[1])], "xs": [["y"] * int(sys.argv[2])]})
text = "{% for i in range(900) %}{{ a }}{% endfor %}{% for x in xs %}{{ a }}{% endfor %}"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for said in Template(text, dict(frame.schema)).prompts(frame):
    print(said, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    ("length", "members"),
    [
        pytest.param(1 << 20, 1, id="a long cell, 900 times"),
        pytest.param(10_000, 50_000, id="a cell as often as a list has members"),
    ],
)
def test_a_prompt_that_grows_without_end_is_ended_while_it_grows(length, members):
    """A process of its own tells its peak memory: without the end it would be a gigabyte and half of one."""
    command = [sys.executable, "-c", GROWS, str(length), str(members)]
    said, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rsplit(maxsplit=1)
    assert said == "the prompt is longer than 16,777,216 characters"
    assert int(megabytes) < 200


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}{{ a }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}{{ a }}",
        "{% for i in range(1000000000) %}{% endfor %}{{ a }}",
    ],
    ids=["loops in loops", "a macro that calls itself", "a range beyond measure"],
)
def test_a_template_that_does_not_end_is_ended(text):
    began = time.monotonic()
    with pytest.raises(PromptError):
        rendered(text, a="x")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("text", ["{{ d.strftime(5) }}", "{{ d.replace(day=99) }}", "{{ d.year() }}", "{{ d > a }}"])
def test_an_error_within_a_value_is_this_rows(text):
    with pytest.raises(PromptError) as told:
        rendered("x" + text + "{{ a + 1 }}", a="text", d=dt.date(2024, 2, 29))
    assert "\n" not in str(told.value)


def test_an_error_never_shows_the_rows_values():
    with pytest.raises(PromptError) as told:
        rendered("{{ a + 1 }}\n{{ secret }}", a="x", secret="the cell's own text")
    assert "own text" not in str(told.value)
    assert "template line 1" in str(told.value)
