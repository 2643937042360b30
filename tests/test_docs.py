"""The documentation, held against the code: its commands, links, job files and tables."""

from __future__ import annotations

import fnmatch
import inspect
import itertools
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest
import yaml
from test_house import ROOMS

import batchgen
from batchgen import errors
from batchgen.cli.main import cli
from batchgen.job import yaml as batchgen_yaml
from batchgen.job.job import Job
from batchgen.job.load import read_job
from batchgen.output.schema import MORE_CHOICES, RESULTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
MAX_LINES = 200

each_page = pytest.mark.parametrize("page", TEXTS)


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks of a page, also within lists."""
    found = re.findall(r"^( *)```(\w+)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, name, body in found if name in languages]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Of a page's headings, as GitHub and others make them."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)) if "://" not in link]


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each command in a line of shell, between `&&`, `|`, `;` and `>`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for is_operator, words in itertools.groupby(lexer, key=lambda word: not set(word) - set("();<>|&")):
        if not is_operator:
            yield list(words)


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every `batchgen` in shell blocks, and in the running text where a command follows it."""
    shell = "\n".join(blocks(text, "bash", "sh")).replace("\\\n", " ")
    spans = [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(text))]
    for line in [*shell.splitlines(), *(span for span in spans if span.startswith("batchgen "))]:
        for words in simple_commands(line):
            begin = next((at for at, word in enumerate(words) if "=" not in word), 0)  # variables may stand before it
            if Path(words[begin]).name == "batchgen":
                yield words[begin + 1 :]


def refusal(words: list[str]) -> str | None:
    """Why the command line does not take these arguments; None where it does."""
    if words[0] == "COMMAND":
        return None
    command = cli.commands.get(words[0])
    if command is None:
        return f"batchgen {words[0]}: no such command"
    try:
        command.make_context(words[0], words[1:])
    except click.UsageError as error:
        return f"batchgen {' '.join(words)}: {error.message}"
    return None


def test_the_readme_is_a_front_door():
    assert README.count("\n") <= MAX_LINES


@each_page
def test_every_relative_link_leads_somewhere(page: str):
    broken = []
    for link in links(TEXTS[page]):
        path, _, anchor = link.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


def test_the_readme_links_every_page():
    assert {name for name in TEXTS if name.startswith("docs/")} <= {link.partition("#")[0] for link in links(README)}


@each_page
def test_every_command_is_one_that_batchgen_takes(page: str):
    """Its name and its options, parsed as the command line parses them."""
    assert [wrong for words in commands(TEXTS[page]) if (wrong := refusal(words))] == []


def test_the_readme_lists_every_command():
    assert set(re.findall(r"^\| `batchgen (\w+)", README, re.MULTILINE)) == set(cli.commands)


def is_whole(values: Any) -> bool:
    return isinstance(values, dict) and {"input", "output"} <= set(values)


@pytest.mark.parametrize(
    ("page", "text"),
    [
        pytest.param(page, text, id=f"{page}, block {number}")
        for page, whole in TEXTS.items()
        for number, text in enumerate(blocks(whole, "yaml"), 1)
        if is_whole(yaml.safe_load(text))
    ],
)
def test_every_whole_job_file_loads(page: str, text: str, tmp_path: Path):
    path = tmp_path / "seo.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_job(path).request.model == "palmyra-x5"


def keys(part: dict[str, Any], schema: dict[str, Any], above: str = "") -> Iterator[str]:
    """The path of every key that may stand in a job file: `prices.*.input`, where any name may stand in between."""
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    for key, value in part.get("properties", {}).items():
        yield f"{above}{key}"
        yield from keys(value, schema, f"{above}{key}.")
    for choice in part.get("anyOf", ()):
        yield from keys(choice, schema, above)
    if isinstance(part.get("additionalProperties"), dict):
        yield from keys(part["additionalProperties"], schema, f"{above}*.")


def written(values: Any, above: str = "") -> Iterator[str]:
    """The path of every key of a job file."""
    for key, value in values.items() if isinstance(values, dict) else ():
        yield f"{above}{key}"
        yield from written(value, f"{above}{key}.")


def test_the_job_file_page_shows_every_key():
    """In its place, and no other; but for a prompt's file, since the example has the text."""
    schema = Job.model_json_schema(by_alias=True)
    values, _ = batchgen_yaml.parse(blocks(TEXTS["docs/job-file.md"], "yaml")[0], "the example")
    example = set(written(values))
    assert {path.partition(".")[0] for path in example} <= set(Job.model_fields)
    assert {key for key in keys(schema, schema) if not fnmatch.filter(example, key)} == {"prompt.file"}
    assert "{file: " in TEXTS["docs/job-file.md"]


def test_the_job_file_page_names_every_job_of_the_repository():
    named = re.findall(r"^\| `(jobs/\w+\.yaml)` \|", TEXTS["docs/job-file.md"], re.MULTILINE)
    assert sorted(named) == sorted(f"jobs/{path.name}" for path in (ROOT / "jobs").glob("*.yaml"))


def test_the_job_file_page_has_the_second_job_of_the_chain_as_it_is():
    (block,) = [text for text in blocks(TEXTS["docs/job-file.md"], "yaml") if "name: judged" in text]
    assert yaml.safe_load(block) == yaml.safe_load((ROOT / "jobs" / "judged.yaml").read_text(encoding="utf-8"))


PASSED_OVER = {"environ", "engine"}
"""Parameters for those who work on the code: the environment, and where attempts are made."""


def test_the_notebooks_page_gives_each_function_as_it_is():
    """Positional parameters by their names, the others with an equals sign, in the code's order."""
    table = TEXTS["docs/notebooks.md"].partition("## The functions")[2]
    shown = re.findall(r"^\| `((\w+)\([^`]*\))` \|", table, re.MULTILINE)
    functions = {name: value for name in batchgen.__all__ if inspect.isfunction(value := getattr(batchgen, name))}
    assert {name for _, name in shown} == set(functions)
    for signature, name in shown:
        assert signature == f"{name}({', '.join(parameters(functions[name]))})"


def parameters(function: Any) -> Iterator[str]:
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            yield f"**{name}"
        elif name not in PASSED_OVER:
            yield name if parameter.default is parameter.empty else f"{name}="


def test_the_readme_names_every_exit_code():
    codes = {0, errors.ROWS_FAILED} | {
        kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)} == codes


def test_the_readme_names_every_result_column_in_order():
    section = README.partition("## What comes out")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [*RESULTS.names, MORE_CHOICES.name]


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if blocks(text, "python")])
def test_the_python_of_a_page_runs_as_it_stands(page: str, tmp_path: Path):
    for folder in ("jobs", "sample_data"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    code = "\n".join(blocks(TEXTS[page], "python"))
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    made = list(tmp_path.glob("out/seo.local*.parquet"))
    assert made
    assert [pl.read_parquet(path)["text"].null_count() for path in made] == [0] * len(made)


def test_the_architecture_names_every_room_in_order():
    page = TEXTS["docs/architecture.md"].partition("## The rooms")[2].partition("\n## ")[0]
    assert [*re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE), "__main__"] == ROOMS


@each_page
def test_every_file_of_the_repository_that_is_named_is_there(page: str):
    named = re.findall(
        r"\b((?:batchgen|tests|jobs)/[\w/.-]*\w\.(?:py|yaml|html|ipynb)|tests/[\w/]+/)", prose(TEXTS[page])
    )
    gone = {name for name in named if not (ROOT / name).exists()}
    assert {name for name in gone if "NAME" not in name} == set()


def test_every_module_that_the_architecture_names_is_there():
    modules = {
        ".".join(path.relative_to(ROOT / "batchgen").with_suffix("").parts)
        for path in (ROOT / "batchgen").rglob("*.py")
    }
    page = TEXTS["docs/architecture.md"].partition("## Glossary")[0]
    rooms = {module.partition(".")[0] for module in modules if "." in module}
    named = re.findall(r"`(\w+(?:\.\w+)+)`", page)
    ours = {name for name in named if name.partition(".")[0] in rooms and name.islower()}
    assert ours
    assert {name for name in ours if name not in modules and f"{name}.__init__" not in modules} == set()


def test_ci_runs_the_readme_test_command():
    (command,) = re.findall(r"^python3 .*-m pytest$", README, re.MULTILINE)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "grep -m 1 -- '-m pytest$' README.md" in script
    assert "--without-pip" in command


def test_the_readme_first_command_in_a_fresh_clone(tmp_path: Path):
    """As a stranger does it: a clone, one line, a Parquet file."""
    clone = tmp_path / "batchgen"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    (command,) = re.findall(r"^python3 .*--local$", README, re.MULTILINE)
    ran = subprocess.run(["bash", "-c", command], cwd=clone, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "309 of 309 rows have their text" in ran.stdout
    frame = pl.read_parquet(clone / "out" / "seo.local.parquet")
    assert frame["status"].to_list() == ["ok"] * 309
    assert frame["text"].null_count() == 0


def test_commits_are_checked_by_what_the_tests_run_and_by_no_host():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repo,) = config["repos"]
    assert (repo["repo"], {hook["language"] for hook in repo["hooks"]}) == ("local", {"system"})
    assert [hook["entry"] for hook in repo["hooks"]] == ["ruff check .", "ruff format --check .", "mypy"]


def test_the_readme_and_the_metadata_name_the_same_pythons():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pythons = [text.rpartition(" ")[2] for text in project["classifiers"] if "Python :: 3." in text]
    assert f"Python {pythons[0]} to {pythons[-1]}" in README
    assert project["requires-python"] == f">={pythons[0]}"
