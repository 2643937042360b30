"""What reaches the server is what was written: one template over one table, in each format, short rows and long ones."""

import datetime as dt
import json
from collections import Counter
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

TEMPLATE = (
    "{% set audience = audience or 'everyone' %}{% if rating >= 4 %}{% set word = 'good' %}{% else %}{% set word = 'poor' %}"
    '{% endif %}{{ name[:8] }} ({{ word }}, {{ rating }}) for {{ audience }}: {{ row["First Name"] }}{{ "!" if rating > 9 }}'
)
ROWS = [
    {"name": "Trail stove", "rating": 5, "audience": "hikers", "First Name": "Ann"},
    {"name": "Tent" + " long" * 6000, "rating": 3, "audience": "", "First Name": "Bob"},
]
WANTED = ["Trail st (good, 5) for hikers: Ann", "Tent lon (poor, 3) for everyone: Bob"]


@pytest.mark.parametrize("kind", ["csv", "parquet", "ndjson"])
@pytest.mark.parametrize("where", ["the server", "the plan"])
def test_a_template_sends_the_same_of_every_format(kind, where, job, service, called):
    rows = [{"id": str(number), **row} for number, row in enumerate(ROWS)]
    types = {"schema": {"rating": "Int64"}} if kind == "csv" else {}
    path = job(rows, kind=kind, prompt=TEMPLATE, input={"path": f"rows.{kind}", "id": "id", **types})
    if where == "the plan":
        assert json.loads(called("plan", path, "--json").stdout)["prompts"] == WANTED
    else:
        assert called("run", path, "--quiet").returncode == 0
        assert service.asked == Counter(WANTED)


def test_a_parquet_files_own_types_reach_the_server(job, service, called):
    moment = dt.datetime(9999, 12, 31, 1, 2, 3, 4)  # noqa: DTZ001  without a zone
    table = pa.table({
        "id": ["1"],
        "narrow": pa.array([19.99], pa.float32()),
        "cost": pa.array([Decimal("12.50")], pa.decimal128(10, 2)),
        "uuid": pa.array([bytes(range(16))], pa.uuid()),
        "nested": [[{"price": 20.0, "day": dt.date(2024, 2, 29)}]],
        "nano": pa.array([1_709_211_907_123_456_789], pa.timestamp("ns")),
    })  # fmt: skip
    prompt = "{{ narrow }} {{ cost }} {{ cost * 2 }} {{ uuid }} {{ nested }} {{ nano }}"
    path = job(table, kind="parquet", prompt=prompt, input={"path": "rows.parquet", "id": "id"})
    assert called("run", path, "--quiet").returncode == 0
    shown = "19.99 12.50 25.00 00010203-0405-0607-0809-0a0b0c0d0e0f [{'price': 20.0, 'day': 2024-02-29}] 2024-02-29 13:05:07.123456789"
    assert list(service.asked) == [shown]
    assert job.table().schema.field("uuid").type == pa.uuid()
    pq.write_table(
        pa.table({"id": ["1"], "at": pa.array([moment])}),
        job.folder / "rows.parquet",
        use_deprecated_int96_timestamps=True,
    )
    path = job.folder / path.name
    path.write_text(path.read_text().replace(f"prompt: '{prompt}'", "prompt: '{{ at }}'"), encoding="utf-8")
    assert called("run", path, "--quiet").returncode == 0
    assert list(service.asked)[1:] == ["9999-12-31 01:02:03.000004"]
    assert job.rows()[0]["at"] == moment


def test_a_text_that_is_compared_with_a_number_is_refused_by_the_plan(job, service, called):
    rows = [{"id": str(number), "rating": str(number)} for number in range(3)]
    told = called("plan", job(rows, prompt="{% if rating >= 4 %}good{% else %}poor{% endif %}"))
    assert told.returncode == 2
    assert "3 of 3 rows cannot be sent" in told.stderr
    assert "rating is text and is compared with a number: type it by input.schema: {rating: Int64}" in told.stderr
    assert service.requests == 0


@pytest.mark.parametrize(
    ("written", "said"),
    [
        pytest.param("Write about {name}.", "for {name} write {{ name }}", id="Python's braces"),
        pytest.param("Write about $name.", "for $name write {{ name }}", id="a shell's dollar"),
        pytest.param("Write about ${Name}.", "for ${Name} write {{ name }}", id="with braces, in capitals"),
        pytest.param("Write about <name>.", "for <name> write {{ name }}", id="angle brackets"),
        pytest.param("Write about %(name)s.", "for %(name)s write {{ name }}", id="per cent"),
        pytest.param("Write about [name].", "for [name] write {{ name }}", id="square brackets"),
        pytest.param("Write about {First Name}.", 'for {First Name} write {{ row["First Name"] }}', id="a name that is no word"),
        pytest.param("prompts/seo.txt", "prompts/seo.txt looks like a file: write its text under `prompt: |`, or {file: prompts/seo.txt}", id="a file's name"),
        pytest.param("Write something.", "a column is written {{ name }}", id="nothing like a name"),
    ],
)  # fmt: skip
def test_a_prompt_that_names_no_column_is_warned_with_the_near_miss(written, said, job, called):
    rows = [{"id": str(number), "name": "x", "First Name": "y"} for number in range(2)]
    path = job(rows, prompt=written, input={"path": "rows.csv"})
    warned = "warning   the prompt names no column, so every row sends the same"
    told = called("plan", path).stdout
    assert warned in told
    assert said in " ".join(told.split())
    assert "names no column" in called("run", path, "--local").stderr
    assert "names no column" not in called("plan", path, "--limit", "1").stdout, "one row may send what it likes"
    assert "names no column" not in called("plan", job(rows, prompt=written, columns={"model": "name"})).stdout


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Write about {{ name }} for {id}.", "for {id} write {{ id }}"),
        ("Write about {{ name }} for {First Name}.", 'for {First Name} write {{ row["First Name"] }}'),
        ("Write about {{ name }} for ${id}.", "for ${id} write {{ id }}"),
        ("Write about {{ name }} for %(id)s.", "for %(id)s write {{ id }}"),
        ("Write about {{ name }} for {{ id }}, not {id}.", None),
        ("Write about {{ name }} in <id> tags, [id] first.", None),
        ('Write about {{ name }} as {"id": 5}.', None),
        ("Write about {{ row }} for {id}.", None),
    ],
)
def test_another_languages_mark_beside_a_column_is_warned(written, meant, job, called):
    told = called("plan", job([{"id": "1", "name": "x", "First Name": "y"}], prompt=written))
    warned = f"the prompt is sent with a column's name in place of its value: {meant}"
    assert told.returncode == 0
    assert (warned in " ".join(told.stdout.split())) == (meant is not None)
    assert meant or "in place of its value" not in told.stdout


def test_a_prompt_that_a_comment_cuts_off_is_warned(job, called):
    path = job([{"id": "1", "name": "x"}, {"id": "2", "name": "y"}])
    text = path.read_text(encoding="utf-8").replace("prompt: Write about {{ name }}.", "prompt: {}")
    for prompt, comment in (
        ("Rank {{ name }} as #1 of its kind", "#1 of its kind"),
        ("Write about item #{{ name }}", "#{{ name }}"),
        ("About {{ name }} # or {{ id }}", "# or {{ id }}"),
    ):
        path.write_text(text.replace("prompt: {}", f"prompt: {prompt}"), encoding="utf-8")
        assert f"YAML took '{comment}' for a comment: put the prompt in quotes" in " ".join(
            called("plan", path).stdout.split()
        )
    path.write_text(text.replace("prompt: {}", "prompt: About {{ name }}  # short"), encoding="utf-8")
    assert "warning" not in called("plan", path).stdout, "an ordinary comment"


@pytest.mark.parametrize(
    ("sections", "warned"),
    [
        ({"timeout": {"total": 300_000}}, "timeout.total: 300,000 seconds are 3 d 11 h: it is not in milliseconds"),
        ({"timeout": {"connect": 5_000}}, "timeout.connect: 5,000 seconds are 1 h 23 min"),
        ({"retry": {"max_wait": 600_000}}, "retry.max_wait: 600,000 seconds are 6 d 22 h"),
        (
            {"prices": {"palmyra-x5": {"input": 6e-7, "output": 6}}},
            "prices.palmyra-x5.input: 6e-07 dollars are the price of",
        ),
        ({"timeout": {"connect": 60, "total": 3600}, "retry": {"max_wait": 80_000}}, None),
        ({"prices": {"palmyra-x5": {"input": 0, "output": 0.02}}}, None),
    ],
)
def test_another_unit_than_the_one_that_is_meant_is_warned(sections, warned, job, called):
    warnings = called("plan", job([{"id": "1", "name": "x"}], **sections), "--json").json["warnings"]
    assert warnings == [] if warned is None else [one.startswith(warned) for one in warnings] == [True]


@pytest.mark.parametrize(
    ("stop", "warned"),
    [(r"\n\n", True), (r"['a', '\n']", True), (r'"\n"', False), (r'["\t", a]', False), ("a", False)],
)
def test_a_stop_whose_backslash_yaml_leaves_is_warned(stop, warned, job, called):
    path = job([{"id": "1", "name": "x"}])
    text = path.read_text(encoding="utf-8").replace("max_tokens: 50", f"max_tokens: 50\n  stop: {stop}")
    path.write_text(text, encoding="utf-8")
    told = " ".join(called("plan", path).stdout.split())
    assert warned == ('is sent with its backslash; in double quotes "\\n" is a line end' in told)


BELOW = "put the text in quotes (and double those within it), or below `prompt: |`, each line of it indented"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("prompt: {{ name }} is good", BELOW),
        ("prompt: {{ name }}", BELOW),
        ("prompt: {% if name %}x{% endif %}", BELOW),
        ("prompt: Write: {{ name }}", BELOW),
        ("prompt: [{{ name }}]", BELOW),
        ("prompt: - {{ name }}", BELOW),
        ('prompt: "Say "hi" to {{ name }}"', BELOW),
        ("prompt: 'It's {{ name }}'", BELOW),
        ("prompt:\n  {{ name }} is good", BELOW),
        ("prompt:\n  Write: {{ name }}", BELOW),
        ("prompt: |\nWrite {{ name }}", "indent each line of the text below `prompt: |`"),
        ("prompt: @{{ name }}", BELOW),
        ("prompt: '{{ name }}'\nprompt_file: seo.txt", "prompt_file: unknown key; a prompt's text belongs in the job file: `prompt: |`, and the text below it, indented; or write `prompt: {file: ...}`"),
        ("prompt: '{{ name }}'\ninput: rows.csv", "input: should be a mapping; did you mean `input: {path: rows.csv}`?"),
        ("prompt: '{{ name }}'\nrequest: palmyra-x5", "request: should be a mapping; did you mean `request: {model: palmyra-x5}`?"),
        ("prompt: '{{ name }}'\noutput: out/x.parquet", "output: should be a mapping; did you mean `output: {path: out/x.parquet}`?"),
        ("prompt: '{{ name }}'\nconcurrency: 9", "concurrency: unknown key; did you mean `limits: {concurrency: ...}`?"),
        ("prompt: '{{ name }}'\nmax_tokens: 9", "max_tokens: unknown key; did you mean `request: {max_tokens: ...}`?"),
    ],
)  # fmt: skip
def test_the_first_mistakes_in_a_job_file_are_told_with_what_was_meant(line, said, job, called):
    path = job([{"id": "1", "name": "x"}])
    keys = {part.split(":")[0] for part in line.splitlines()}
    rest = {
        "input": "input: {path: rows.csv}",
        "request": "request: {model: palmyra-x5, max_tokens: 5}",
        "output": "output: {path: out/job.parquet}",
    }
    path.write_text("\n".join([line, *(text for key, text in rest.items() if key not in keys)]), encoding="utf-8")
    told = called("plan", path)
    assert (told.returncode, told.stdout) == (2, "")
    assert said in told.stderr
    assert "job.yaml:" in told.stderr


def test_a_job_that_lies_beside_under_its_whole_name(job, called):
    path = job([{"id": "1", "name": "x"}])
    assert called("plan", path.with_suffix("")).stdout.startswith("job: 1 row, 1 to send")
    assert f"did you mean {path}?" in called("plan", path.with_name("jbo.yaml")).stderr
