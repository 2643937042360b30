"""The template: names and nulls refused before anything is sent, cells printed byte for byte and never evaluated."""

import datetime as dt
import json
import re
import subprocess
import sys
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.errors import UsageError
from batchgen.input.prompt_template import PromptError, Template
from batchgen.input.template.growth import MAX_CHARS


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
        pytest.param("{{ nmae }}", "prompt: line 1 of the text: unknown name 'nmae'; did you mean name?", id="a near miss"),
        pytest.param("a\n\nb {{ Name }}", "prompt: line 3 of the text: unknown name 'Name'; did you mean name?", id="capitals, line 3"),
        pytest.param("{{ zzz }}", "prompt: line 1 of the text: unknown name 'zzz'; the input's columns: name, price", id="unlike all"),
        pytest.param("An article\n{{ art }}", "prompt: line 2 of the text: unknown name 'art'", id="a name that is part of a word before"),
        pytest.param("nmae:\n{{ nmae }}", "prompt: line 2 of the text: unknown name 'nmae'", id="a name that is a word before"),
        pytest.param("{% if zzz %}a{% endif %}", "prompt: line 1 of the text: unknown name 'zzz'", id="in a condition"),
        pytest.param("{% for x in zzz %}a{% endfor %}", "prompt: line 1 of the text: unknown name 'zzz'", id="in a loop"),
        pytest.param("{{ zzz is defined }}", "prompt: line 1 of the text: unknown name 'zzz'", id="asked whether it is defined"),
        pytest.param("{{ zzz or 'a' }}", "prompt: line 1 of the text: unknown name 'zzz'", id="with something instead"),
        pytest.param("{% if false %}{{ zzz }}{% endif %}", "prompt: line 1 of the text: unknown name 'zzz'", id="where it is never printed"),
        pytest.param("{% if name %}\n{{ name }}", "prompt: line 2 of the text: syntax error", id="an if without its end"),
        pytest.param("a\n{{ name", "prompt: line 2 of the text: syntax error", id="braces without their end"),
        pytest.param("a\n{{ name }\n}", "prompt: line 2 of the text: syntax error", id="braces apart"),
        pytest.param("a\n{% nonsense %}", "prompt: line 2 of the text: syntax error", id="a statement that there is none"),
    ],
)  # fmt: skip
def test_a_template_that_is_refused(text, said):
    with pytest.raises(UsageError) as told:
        Template(text, {"name": pl.String(), "price": pl.Float64()})
    assert str(told.value).startswith(said)
    assert "\n" not in str(told.value)


def test_a_name_where_there_are_no_columns():
    with pytest.raises(UsageError, match=re.escape("unknown name 'zzz'; the input's columns: none (is it empty?)")):
        Template("{{ zzz }}", {})


@pytest.mark.parametrize(("mark", "what"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
def test_an_input_that_is_separated_by_something_else(mark, what):
    with pytest.raises(UsageError, match=f"is the file separated by {what}"):
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


def test_a_column_that_is_named_row_is_read_only_where_it_is_used():
    columns = {"row": pl.Binary(), "a": pl.String()}
    assert Template("{{ a }}", columns).names == ["a"]
    with pytest.raises(UsageError, match="holds bytes"):
        Template("{{ row }}", columns)


def test_of_several_unknown_names_the_first_is_told():
    with pytest.raises(UsageError, match="line 1 of the text: unknown name 'zz1'"):
        Template("{{ zz1 }}\n{{ zz2 }}\n{{ zz3 }}", {"a": pl.String()})


def test_a_template_without_names_is_the_same_for_every_row():
    template = Template("Hello", {"a": pl.String()})
    assert [template.render(row) for row in template.cells(pl.DataFrame({"a": ["x", None]}))] == ["Hello", "Hello"]


def test_columns_of_bytes_are_no_text():
    with pytest.raises(UsageError, match="prompt: column 'a' holds bytes"):
        Template("{{ a }}", {"a": pl.Binary()})


# Cells are inert


@given(st.text(min_size=1))
@settings(deadline=None, max_examples=150)
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
@settings(deadline=None, max_examples=250)
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


@pytest.mark.parametrize(
    ("text", "at_once"), [("{{ a }}!", True), ("{{ n }}!", True), ("{{ a | upper }}", False), ("{{ f }}", False)]
)
def test_columns_of_text_and_whole_numbers_are_joined(text, at_once):
    frame = pl.DataFrame({"a": ["x", "y"], "n": [1, 2], "f": [0.5, 1.5]})
    assert bool(Template(text, dict(frame.schema))._joins) == at_once


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_what_is_joined_and_what_is_rendered_are_one_whatever_the_types(data):
    """The fast path and the engine, over tables of every type, with nulls."""
    chosen = data.draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=4))
    cells = [data.draw(st.lists(st.booleans(), min_size=3, max_size=3)) for _ in chosen]
    frame = pl.DataFrame([
        typed([value if is_there else None for is_there in present], dtype).alias(f"c{at}")
        for at, ((_, value, dtype, _), present) in enumerate(zip(chosen, cells, strict=True))
    ])  # fmt: skip
    template = Template("<" + "|".join(f"{{{{ c{at} }}}}" for at in range(len(chosen))) + ">", dict(frame.schema))
    made = [str(said) for said in template.prompts(frame)]
    template._joins = []
    assert made == [str(said) for said in template.prompts(frame)]
    full = [row for row in range(3) if all(present[row] for present in cells)]
    assert [made[row] for row in full] == [f"<{'|'.join(value[3] for value in chosen)}>"] * len(full)


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
    cell = "x" * (MAX_CHARS // 2)
    assert len(rendered("{{ a }}{{ a }}", a=cell)) == MAX_CHARS
    with pytest.raises(PromptError, match="longer than 16,777,216 characters"):
        rendered("{{ a }}{{ a }}.", a=cell)


GROWS = """
import resource, sys
import polars as pl
import pyarrow as pa
from batchgen.input.prompt_template import Template
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
    assert said == "the prompt is longer than 16,777,216 characters (template line 1)"
    assert int(megabytes) < 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}{{ a }}",
            "the template does not end: more than 1,000,000 rounds of loops and calls (template line 1)",
            id="loops in loops",
        ),
        pytest.param(
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}{{ a }}",
            "lists within lists, or macros that call each other, go too deep (template line 1)",
            id="a macro that calls itself",
        ),
        pytest.param(
            "{% for i in range(1000000000) %}{% endfor %}{{ a }}",
            "OverflowError: Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000). (template line 1)",
            id="a range beyond measure",
        ),
    ],
)
def test_a_template_that_does_not_end_is_ended(text, said):
    with pytest.raises(PromptError) as told:
        rendered(text, a="x")
    assert str(told.value) == said


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


# Which names a template reads


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("{{ a[:20] }}", ["a"], id="in a slice alone"),
        pytest.param("{{ a[b:c] }}", ["a", "b", "c"], id="as a slice's bounds"),
        pytest.param("{% for x in a[1:] %}{{ x }}{% endfor %}", ["a"], id="in a loop's slice"),
        pytest.param("{% set a = a or 'everyone' %}{{ a }}", ["a"], id="set to itself"),
        pytest.param("{% set a = a | default('x') %}{{ a }}", ["a"], id="set to itself through a filter"),
        pytest.param("{% with a = a or 'x' %}{{ a }}{% endwith %}", ["a"], id="with itself"),
        pytest.param("{% filter truncate(n) %}{{ a }}{% endfilter %}", ["a", "n"], id="a filter block's argument"),
        pytest.param("{{ 'x' | replace(a, b) }}", ["a", "b"], id="a filter's arguments"),
        pytest.param("{{ 'x' if 1 is divisibleby n else 'y' }}", ["n"], id="a test's argument"),
        pytest.param("{% if a %}{% set b = 'x' %}{% endif %}{{ b }}", ["a", "b"], id="set in one case only: else the column"),
        pytest.param("{% if a %}{% set b = 'x' %}{% else %}{% set b = 'y' %}{% endif %}{{ b }}", ["a"], id="set in every case"),
        pytest.param("{% if a %}x{% elif b %}{% set c = 1 %}{% else %}{% set c = 2 %}{% endif %}{{ c }}", ["a", "b", "c"], id="set in some cases"),
        pytest.param("{% for a in b %}{{ a }}{% endfor %}", ["b"], id="a loop's own variable"),
        pytest.param("{% for a in b %}{{ a }}{% endfor %}{{ a }}", ["a", "b"], id="and the column after the loop"),
        pytest.param("{% for x in b if x != c %}{{ loop.index }}{% else %}{{ a }}{% endfor %}", ["a", "b", "c"], id="a loop's condition and its else"),
        pytest.param("{% set x = [] %}{% for i in b %}{% set c = i %}{% endfor %}{{ c }}", ["b", "c"], id="what a loop sets ends with it"),
        pytest.param("{% macro m(a, b=c) %}{{ a }}{{ b }}{{ n }}{% endmacro %}{{ m(1) }}", ["c", "n"], id="a macro's arguments are its own"),
        pytest.param("{% macro m() %}{{ a }}{% endmacro %}{% set a = 1 %}{{ m() }}", [], id="set before a macro is called"),
        pytest.param("{% macro m() %}{{ caller(1) }}{% endmacro %}{% call(x) m() %}{{ x }}{{ a }}{% endcall %}", ["a"], id="a call's body"),
        pytest.param("{% set ns = namespace(a=1) %}{% set ns.a = b %}{{ ns.a }}", ["b"], id="a namespace's attribute is no column"),
        pytest.param("{% set x %}{{ a }}{% endset %}{{ x }}", ["a"], id="within a set block"),
        pytest.param("{% block x %}{{ a }}{% endblock %}", ["a"], id="within a block"),
        pytest.param("{{ row['a'] }}{{ row.b }}", ["a", "b"], id="by the row"),
        pytest.param("{{ row | length }}", ["a", "b", "c", "n"], id="the row as a whole"),
        pytest.param("{{ row.get('a') }}", ["a", "b", "c", "n"], id="a method of the row"),
        pytest.param("{{ row[a] }}", ["a", "b", "c", "n"], id="the row's column that a column names"),
        pytest.param("{% for row in b %}{{ row.zzz }}{% endfor %}", ["b"], id="a loop's own row is no row of the table"),
        pytest.param("{# {{ a }} #}{% raw %}{{ b }}{% endraw %}{{ 'c' }}", [], id="what is no code"),
    ],
)  # fmt: skip
def test_the_columns_that_a_template_reads(text, names):
    columns = {"a": pl.String(), "b": pl.List(pl.String()), "c": pl.Int64(), "n": pl.Int64()}
    assert Template(text, columns).names == names


@pytest.mark.parametrize(
    "text",
    [
        "{{ zzz[:5] }}", "{{ a[zzz:] }}", "{{ a[:zzz] }}", "{% for x in zzz[1:] %}x{% endfor %}", "{% set zzz = zzz or 'x' %}{{ zzz }}", "{% with zzz = zzz or 'x' %}{{ zzz }}{% endwith %}",
        "{% set zzz = zzz | default('x') %}{{ zzz }}", "{% filter truncate(zzz) %}x{% endfilter %}", "{{ a | truncate(zzz) }}", "{{ a is eq zzz }}", "{{ a if zzz else a }}", "{% if a %}x{% elif zzz %}y{% endif %}",
        "{% for i in [1] %}{% set zzz = i %}{% endfor %}{{ zzz }}", "{% macro m(zzz) %}{% endmacro %}{{ zzz }}", "{% for x in [1] if zzz %}{% endfor %}x", "{{ row['zzz'] }}", "{{ row.zzz or 'x' }}", "{% set ns = namespace() %}{% set ns.a = zzz %}x",
        "{% macro m() %}{% endmacro %}{% call(zzz) m() %}{% endcall %}{{ zzz }}", "{{ [1, zzz] }}{{ {'k': zzz} }}", "{{ zzz.upper() }}", "{{ 'x'.join(zzz) }}", "{% set x %}{{ zzz }}{% endset %}", "{{ -zzz }}", "{{ not zzz }}", "{{ zzz ~ a }}", "{{ zzz() }}",
    ],
)  # fmt: skip
def test_a_name_that_nothing_supplies_is_refused_wherever_it_stands(text):
    with pytest.raises(UsageError, match="line 2 of the text: unknown name 'zzz'"):
        Template("\n" + text, {"a": pl.String()})


@pytest.mark.parametrize("name", ["range", "dict", "namespace", "cycler", "joiner"])
def test_a_column_named_like_a_function_is_the_column_also_where_it_is_null(name):
    assert rendered(f"{{{{ {name}[:3] }}}}", **{name: "abcd"}) == "abc"
    with pytest.raises(PromptError, match=f"{name} is missing or empty"):
        rendered(f"{{{{ {name} }}}}", {name: pl.String}, **{name: None})
    with pytest.raises(PromptError, match=rf"(?i){name}.*not text \(template line 1\)"):
        rendered(f"{{{{ a }}}}{{{{ {name} }}}}", a="x")


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        pytest.param("{{ First Name }}", "First Name", """line 1 of the text: the column 'First Name' is written {{ row["First Name"] }}, or named by input.rename: {"First Name": first_name}""", id="a blank"),
        pytest.param("a\n{{ Artikel-Nr }}", "Artikel-Nr", """line 2 of the text: the column 'Artikel-Nr' is written {{ row["Artikel-Nr"] }}, or named by input.rename: {"Artikel-Nr": artikel_nr}""", id="a hyphen, which is a minus"),
        pytest.param("{{ Price (EUR) | upper }}", "Price (EUR)", """line 1 of the text: the column 'Price (EUR)' is written {{ row["Price (EUR)"] }}""", id="brackets, which are a call"),
        pytest.param("{{ 1st }}", "1st", """line 1 of the text: the column '1st' is written {{ row["1st"] }}, or named by input.rename: {"1st": column_1st}""", id="a digit first"),
        pytest.param("{% if not not %}x{% endif %}", "not", """line 1 of the text: the column 'not' is written {{ row["not"] }}""", id="a word of the language"),
        pytest.param("{{ True }}", "True", """line 1 of the text: the column 'True' is written {{ row["True"] }}""", id="a constant"),
        pytest.param("a\n{{ none or 'x' }}", "none", """line 2 of the text: the column 'none' is written {{ row["none"] }}""", id="another"),
        pytest.param("{{ First_Name }}", "First Name", """line 1 of the text: unknown name 'First_Name'; the column 'First Name' is written""", id="an underscore for the blank"),
        pytest.param("{{ firstname }}", "First Name", """unknown name 'firstname'; the column 'First Name' is written""", id="no blank"),
        pytest.param("{{ name }}", "name ", """unknown name 'name'; the column's name ends with a blank: the column 'name ' is written {{ row["name "] }}""", id="a blank at the end of the header's cell"),
        pytest.param("{{ name }}", " name", "unknown name 'name'; the column's name begins with a blank", id="a blank before it"),
        pytest.param("{{ name }}", "\u00a0name", "unknown name 'name'; the column's name begins with a no-break space", id="a no-break space"),
        pytest.param("{{ name }}", "\ufeffname", "unknown name 'name'; the column's name begins with a byte order mark", id="a byte order mark"),
        pytest.param("{{ nome }}", "name", "unknown name 'nome'; did you mean name?", id="a letter"),
        pytest.param("{{ Frist_Name }}", "First Name", 'unknown name \'Frist_Name\'; did you mean row["First Name"]?', id="a letter, and a blank"),
    ],
)  # fmt: skip
def test_a_column_whose_name_is_no_word(text, column, said):
    with pytest.raises(UsageError) as told:
        Template(text, {column: pl.String(), "other": pl.String()})
    assert said in str(told.value)


def test_a_column_of_any_name_is_read_by_the_row():
    cells = {"First Name": "Ann", "Artikel-Nr": "7", "price (€)": 1.5, 'say "hi"': "x", "items": "y", "in": "z"}
    text = """{{ row["First Name"] }} {{ row['Artikel-Nr'] }} {{ row["price (€)"] }} {{ row['say "hi"'] }} {{ row.items }} {{ row["in"] }}"""
    assert rendered(text, **cells) == "Ann 7 1.5 x y z"
    assert rendered("{% for k, v in row.items() %}{{ k }}={{ v }};{% endfor %}", a="x", b=2) == "a=x;b=2;"
    assert rendered("{{ row | tojson }}", a="x", b=2) == '{"a": "x", "b": 2}'
    with pytest.raises(PromptError, match="First Name is missing or empty"):
        rendered('{{ row["First Name"] }}', {"First Name": pl.String}, **{"First Name": None})


@pytest.mark.parametrize(
    ("text", "row", "shown"),
    [
        pytest.param("{{ row }}", "x", "x", id="a column of that name is the column"),
        pytest.param("{{ row[:1] }}", "xy", "x", id="also in a slice"),
        pytest.param("{{ row['a'] }}", "x", "A", id="a text has no keys: the row's"),
        pytest.param("{{ row.k }}{{ row['k'] }}", {"k": "v"}, "vv", id="a struct has its own"),
        pytest.param("{{ row['a'] }}{{ row }}", "x", None, id="both at once are told apart by nobody"),
        pytest.param("{{ row['a'] }}{{ row.k }}", {"k": "v"}, None, id="nor are a struct's keys and the row's"),
    ],
)  # fmt: skip
def test_a_column_that_is_named_row(text, row, shown):
    if shown is not None:
        assert rendered(text, a="A", row=row) == shown
        return
    with pytest.raises(UsageError, match=r"'row' is a column of the input.*input.rename"):
        rendered(text, a="A", row=row)


# One printing rule

NS, US = 1_709_211_907_123_456_789, dt.datetime(2024, 2, 29, 13, 5, 7, 120_000)  # noqa: DTZ001  without a zone
VALUES = [
    ("text", "it's", pl.String, "it's"),
    ("a whole number", 7, pl.Int64, "7"),
    ("one of eight bits", 7, pl.UInt8, "7"),
    ("one of 128 bits", 2**100, pl.Int128, str(2**100)),
    ("a truth value", True, pl.Boolean, "True"),
    ("a float without a fraction", 20.0, pl.Float64, "20.0"),
    ("a float", 0.1, pl.Float64, "0.1"),
    ("a large float", 1e22, pl.Float64, "1e+22"),
    ("a narrow float", 19.99, pl.Float32, "19.99"),
    ("a narrow float without a fraction", 20.0, pl.Float32, "20.0"),
    ("the largest narrow float", 3.4028235e38, pl.Float32, "3.4028235e+38"),
    ("a half float", 19.99, pl.Float16, "19.98"),
    ("the largest half float", 65504.0, pl.Float16, "65500.0"),
    ("a decimal", Decimal("12.50"), pl.Decimal(10, 2), "12.50"),
    ("a small decimal", Decimal("0.0000001"), pl.Decimal(20, 7), "0.0000001"),
    ("a long decimal", Decimal("12345678901234567890.123456789"), pl.Decimal(38, 9), "12345678901234567890.123456789"),
    ("a date", dt.date(2024, 2, 29), pl.Date, "2024-02-29"),
    ("a date with time", US, pl.Datetime("us"), "2024-02-29 13:05:07.120000"),
    ("one in milliseconds", US, pl.Datetime("ms"), "2024-02-29 13:05:07.120000"),
    ("one in nanoseconds", NS, pl.Datetime("ns"), "2024-02-29 13:05:07.123456789"),
    ("one without any", NS // 1000 * 1000, pl.Datetime("ns"), "2024-02-29 13:05:07.123456"),
    ("one with a zone", NS, pl.Datetime("ns", "Europe/Berlin"), "2024-02-29 14:05:07.123456789+01:00"),
    ("one before 1970", -1, pl.Datetime("ns"), "1969-12-31 23:59:59.999999999"),
    ("a time", dt.time(1, 2, 3), pl.Time, "01:02:03"),
    ("a time in nanoseconds", 3_723_000_000_001, pl.Time, "01:02:03.000000001"),
    ("a duration", dt.timedelta(days=1, seconds=5), pl.Duration("us"), "P1DT5S"),
    ("a duration in nanoseconds", 1_000_000_001, pl.Duration("ns"), "PT1.000000001S"),
    ("a negative duration", -90_000, pl.Duration("ms"), "-PT1M30S"),
    ("no duration", 0, pl.Duration("ms"), "PT0S"),
    ("a category", "red", pl.Categorical, "red"),
    ("one of a list", "red", pl.Enum(["red"]), "red"),
]  # fmt: skip
QUOTED = (pl.String, pl.Categorical, pl.Enum)
FORMS = ["{{ a }}", "{{ a ~ '' }}", "{{ a | string }}", "{{ [a] | join }}", "{{ l[0] }}", "{{ l | join }}", "{{ s.k }}", "{{ s['k'] ~ '' }}", "{% for x in l %}{{ x }}{% endfor %}",
         "{{ a | default('x') }}", "{{ a if true }}", "{% set b = a %}{{ b }}", "{{ row['a'] }}", "{{ d.k[0].k }}", "{{ r[0] }}", "{{ '%s' | format(a) }}", "{{ a | trim }}"]  # fmt: skip


def typed(values: list, dtype) -> pl.Series:
    """Cells of a type; times may be given as counts of its unit."""
    counts = dtype.is_temporal() and any(isinstance(value, int) for value in values)
    return pl.Series("a", values, dtype=pl.Int64 if counts else dtype, strict=False).cast(dtype)


@pytest.mark.parametrize(("value", "dtype", "shown"), [row[1:] for row in VALUES], ids=[row[0] for row in VALUES])
def test_a_value_prints_alike_wherever_it_stands(value, dtype, shown):
    column = typed([value], dtype)
    nested = pl.DataFrame({"a": column}).select(
        "a", l=pl.concat_list("a"), s=pl.struct(k="a"), d=pl.struct(k=pl.concat_list(pl.struct(k="a")))
    )
    frame = nested.with_columns(r=pl.col("l").cast(pl.Array(dtype, 1)), long=pl.lit("x" * 30_000))
    shown_in_list = repr(shown) if issubclass(type(column.dtype), QUOTED) else shown
    expected = {**dict.fromkeys(FORMS, shown), "{{ l }}": f"[{shown_in_list}]", "{{ s }}": f"{{'k': {shown_in_list}}}", "{{ d }}": f"{{'k': [{{'k': {shown_in_list}}}]}}",
                "{{ (a, 1) }}": f"({shown_in_list}, 1)", "{{ l }}{{ long[:1] }}": f"[{shown_in_list}]x", "{{ a }}{{ long }}": shown + "x" * 30_000, "{{ s.values() | list }}": f"[{shown_in_list}]"}  # fmt: skip
    for text, wanted in expected.items():
        (said,) = Template(text, dict(frame.schema)).prompts(frame)
        assert str(said) == wanted, text


@pytest.mark.parametrize(
    ("value", "dtype", "shown"),
    [row[1:] for row in VALUES if "float" not in row[0]],
    ids=[row[0] for row in VALUES if "float" not in row[0]],
)
def test_a_value_is_json_of_its_digits(value, dtype, shown):
    column = typed([value], dtype)
    frame = pl.DataFrame({"a": column}).with_columns(l=pl.concat_list("a"))
    is_text = isinstance(column.dtype, QUOTED) or column.dtype.is_temporal()
    literal = json.dumps(shown).replace("'", "\\u0027") if is_text else shown.replace("True", "true")
    (said,) = Template("{{ a | tojson }} {{ l | tojson }}", dict(frame.schema)).prompts(frame)
    assert said == f"{literal} [{literal}]"


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False)
    | st.floats(width=16, allow_nan=False, allow_infinity=False)
)
@settings(deadline=None, max_examples=150)
def test_a_narrow_float_prints_the_fewest_digits_that_are_it(value):
    for dtype in (pl.Float32, pl.Float16):
        held = pl.Series([value], dtype=pl.Float64).cast(dtype)
        if held.is_infinite()[0]:
            continue
        frame = held.alias("a").to_frame()
        (said,) = Template("{{ a }}.", dict(frame.schema)).prompts(frame)
        digits = str(said)[:-1]
        assert pl.Series([float(digits)], dtype=pl.Float64).cast(dtype).equals(held)
        fewer = len(digits.split("e")[0].replace(".", "").strip("-0")) - 1
        assert fewer < 1 or not pl.Series([float(f"{held[0]:.{fewer}g}")]).cast(dtype).equals(held)


def test_a_map_is_a_mapping():
    table = pa.table({"m": pa.array([[("a", 1.99), ("b", None)]], pa.map_(pa.string(), pa.float32()))})
    frame = pl.DataFrame(table)
    (said,) = Template("{{ m.a }} {{ m['a'] }} {{ m.b or '-' }} {{ m | length }}", dict(frame.schema)).prompts(frame)
    assert said == "1.99 1.99 - 2"


def test_a_map_that_has_a_key_twice_is_refused_by_its_row_where_it_is_used():
    """Of which a mapping would keep the last value alone."""
    cells = [[("a", 1)], [("a", 1), ("a", 2)]]
    frame = pl.DataFrame(pa.table({"m": pa.array(cells, pa.map_(pa.string(), pa.int64())), "n": ["x", "y"]}))
    once, twice = Template("{{ m }}", dict(frame.schema)).prompts(frame)
    assert (once, "m holds a key more than once" in str(twice)) == ("{'a': 1}", True)
    assert list(Template("{{ n }}", dict(frame.schema)).prompts(frame)) == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{{ f or 'x' }}", "x"),
        ("{{ xs | map('default', 'x') | join(',') }}", "1.5,x"),
        ("{{ s.f | default('x') }}", "x"),
        ("{{ 'x' if xs[1] is none else 'y' }}", "x"),
        ("{% if xs[1] == none %}x{% endif %}", "x"),
        ("{{ 'x' if f == none else 'y' }}", "x"),
    ],
)
def test_not_a_number_is_null_at_any_depth(text, shown):
    nan = float("nan")
    for dtype in (pl.Float64, pl.Float32):
        types = {"f": dtype, "xs": pl.List(dtype), "s": pl.Struct({"f": dtype})}
        assert rendered(text, types, f=nan, xs=[1.5, nan], s={"f": nan}) == shown
    with pytest.raises(PromptError, match=r"xs\[\] is missing or empty"):
        rendered("{{ xs }}", xs=[1.5, nan])


@pytest.mark.parametrize("text", ["{{ s.b }}", "{{ s }}", "{{ xs[0] }}", "{{ row['xs'] }}", "{{ row }}"])
def test_bytes_are_refused_by_column_at_any_depth(text):
    with pytest.raises(UsageError, match=r"prompt: column '(s|xs)' holds bytes \((s\.b|xs\[\])\), not text"):
        Template(text, {"s": pl.Struct({"b": pl.Binary()}), "xs": pl.List(pl.Binary())})


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pl.Series([3_000_000]).cast(pl.Date), id="the year 10183"),
        pytest.param(pl.Series([-(10**9)]).cast(pl.Date), id="before the year 1"),
        pytest.param(pl.Series([10**18]).cast(pl.Datetime("us")), id="the year 33658"),
        pytest.param(pl.Series([[10**18]]).cast(pl.List(pl.Datetime("us"))), id="in a list"),
        pytest.param(pl.Series([2**62]).cast(pl.Duration("ms")), id="a duration beyond all years"),
    ],
)
def test_a_time_that_python_has_not_is_refused_by_its_row_where_it_is_used(column):
    frame = column.alias("a").to_frame()
    frame = pl.concat([frame.clear(1), frame])
    near, far = Template("{% if b %}{{ a }}{% endif %}x", dict(frame.with_columns(b=True).schema)).prompts(
        frame.with_columns(b=pl.Series([False, True]))
    )
    assert near == "x"
    assert "column 'a' holds a date or time beyond the years 1 to 9999" in str(far)


# Texts and numbers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% if rating >= 4 %}good{% endif %}x", "rating is text and is compared with a number: type it by input.schema: {rating: Int64} where it is a CSV's, or write rating | int (template line 1)"),
        ("a\n{{ 4.5 < rating }}", "rating is text and is compared with a number: type it by input.schema: {rating: Float64} where it is a CSV's, or write rating | float (template line 2)"),
        ("{{ rating == 4 }}", "{rating: Int64}"),
        ("{{ rating in [4, 5] }}", "{rating: Int64}"),
        ("{{ row['rating'] > 4 }}", "rating is text and is compared with a number"),
        ("{{ row.rating != 4 }}", "rating is text and is compared with a number"),
        ("{{ s.rating > 4 }}", "s.rating is text and is compared with a number: write s.rating | int"),
        ("{{ rating > n }}", "rating is text and is compared with n (a number)"),
        ("{{ 3 < rating < 5 }}", "rating is text and is compared with a number"),
        ("{{ rating == true }}", "{rating: Boolean}"),
        ("{{ rating * 2 }}", "rating is text and is multiplied with a number"),
        ("{{ rating + 1 }}", "rating is text and is calculated with a number: type it by input.schema: {rating: Int64}"),
        ("{{ 1 - rating }}", "rating is text and is calculated with a number"),
        ("{{ n == '3' }}", "n (a number) is compared with text: write what it is compared with without quotes"),
        ("{{ ratings | select('gt', 4) | list }}", "a text is compared with a number: write | int behind it, or type its column by input.schema"),
        ("{% for r in ratings %}{{ r > 4 }}{% endfor %}", "r is text and is compared with a number"),
        ("{% set r = rating %}{{ r > 4 }}", "r is text and is compared with a number"),
    ],
)  # fmt: skip
def test_a_text_is_never_compared_with_a_number(text, said):
    with pytest.raises(PromptError) as told:
        rendered(text, rating="5", n=3, ratings=["5"], s={"rating": "5"})
    assert said in str(told.value)


def test_decimals_are_numbers_in_a_template():
    price, tax = Decimal("12.50"), Decimal("12345678901234567890123456.789")
    types = {"price": pl.Decimal(10, 2), "tax": pl.Decimal(38, 3), "xs": pl.List(pl.Decimal(10, 2))}
    text = "{% if price > 100 %}dear{% else %}cheap{% endif %} {{ price * 2 }} {{ price * 1.1 }} {{ price + 1 }} {{ price == 12.5 }} {{ xs | sum }} {{ tax * 2 }} {{ [price * 2] }} {{ xs | map('round', 1) | list }}"
    shown = "cheap 25.00 13.750 13.50 True 25.00 24691357802469135780246913.578 [25.00] [12.5, 12.5]"
    assert rendered(text, types, price=price, tax=tax, xs=[price, price]) == shown


# Templates that grow without end


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.join(xs) }}", "{{ xs | join }}", "{{ 'x' * 100000000 }}", "{{ a * 100000 }}", "{{ [a] * 100000000 }}", "{% set ns = namespace(t=a) %}{% for i in range(99) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
        "{% set ns = namespace(t=a) %}{% for i in range(99) %}{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}", "{% set t %}{% for x in xs %}{{ x }}{% endfor %}{% endset %}{{ t }}", "{% macro m() %}{% for x in xs %}{{ x }}{% endfor %}{% endmacro %}{{ m() }}",
        "{{ a | replace('x', a) }}", "{{ a.replace('x', a) }}", "{{ 'x' | center(1000000000) }}", "{{ 'x'.center(1000000000) }}", "{{ 'x'.ljust(10 ** 9) }}", "{{ '%1000000000d' % 1 }}", "{{ '%*d' % (1000000000, 1) }}", "{{ '{:1000000000}'.format(1) }}", "{{ '{:{}}'.format(1, 1000000000) }}",
        "{{ '%1000000000d' | format(1) }}", "{{ ('%s' * 3000) % ((a,) * 3000) }}", "{{ ('{0}' * 3000).format(a) }}", "{{ 10 ** (10 ** 10) }}", "{% set ns = namespace(n=9) %}{% for i in range(999) %}{% set ns.n = ns.n * ns.n %}{% endfor %}{{ ns.n }}", "{{ 'x' | indent(1000000000, true) }}", "{{ [1] | batch(1000000000, 'x') | list }}",
        "{{ [1] | slice(1000000000) | list }}", "{{ [1] | tojson(indent=1000000000) }}", "{{ (1).to_bytes(10 ** 10, 'big') }}", "{{ '\t'.expandtabs(10 ** 10) }}", "{% for x in xs %}{% for y in xs %}{% for z in xs %}{% endfor %}{% endfor %}{% endfor %}x", "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}", "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{{ range(10 ** 12) }}", "{% for x in [xs] * 1000 %}{% for y in x %}{{ y }}{% endfor %}{% endfor %}", "{{ xs | map('replace', 'x', a) | list | length }}", "{{ [xs, xs] | sum(start=[]) | join }}",
    ],
)  # fmt: skip
def test_whatever_grows_without_end_is_refused_with_its_line(text):
    with pytest.raises(PromptError, match=r"\(template line 2\)"):
        rendered("\n" + text, a="x" * 10_000, xs=["x" * 1000] * 20_000)


def test_blocks_and_brackets_without_end_are_refused():
    deep = [
        ("{% if a %}" * 200 + "x" + "{% endif %}" * 200),
        "{{ " + "(" * 300 + "a" + ")" * 300 + " }}",
        "{{ " + "-" * 5000 + "1 }}",
        "{% for x in a %}" * 50 + "x" + "{% endfor %}" * 50,
    ]
    for text in deep:
        try:
            rendered(text, a="x")
        except (UsageError, PromptError) as refused:
            assert "\n" not in str(refused)  # noqa: PT017  either will do, but the process goes on
