"""The house itself: imports point only upwards, the checkers are content, and the README is true."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from batchgen import errors
from batchgen.job.job import Job
from batchgen.job.load import load_job

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "batchgen"
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent

ROOMS = [
    "errors",
    "event_loop",
    "storage",
    "ui",
    "api",
    "simulator",
    "job",
    "checkpoint",
    "input",
    "send",
    "output",
    "reporting",
    "runner",
    "commands",
    "notebook",
    "cli",
    "__main__",
]
"""Every room, in the order data flows: each imports only from those before it, and from itself."""


def modules() -> list[tuple[str, ...]]:
    found = (path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py"))
    return sorted(parts for parts in found if parts != ("__init__",))


def imported(module: tuple[str, ...]) -> set[str]:
    """What a module imports of this package, anywhere in it, late and for types alone, too: dotted, without the
    package's own name."""
    tree = ast.parse(PACKAGE.joinpath(*module).with_suffix(".py").read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "batchgen":
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "batchgen"}
    return {name.removeprefix("batchgen.") for name in names} - {"__version__"}


def test_every_module_lies_in_a_room():
    assert sorted({module[0] for module in modules()}) == sorted(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_one_way_only(room: str):
    allowed = {*ROOMS[: ROOMS.index(room)], room}
    wrong = {
        f"{'.'.join(module)} imports {name}"
        for module in modules()
        if module[0] == room
        for name in imported(module)
        if name.split(".")[0] not in allowed
    }
    assert wrong == set()


def test_no_modules_import_each_other():
    """Within a room, too: what imports what is a graph without circles."""
    known = {".".join(module) for module in modules()}
    sorter = graphlib.TopologicalSorter(
        {
            ".".join(module): {found for name in imported(module) for found in (name, name.rpartition(".")[0])} & known
            for module in modules()
        }
    )
    sorter.prepare()


def test_modules_and_functions_can_be_seen_whole():
    long = []
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        long += [path.name] if text.count("\n") > 300 else []
        functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
        long += [f"{path.name}: {n.name}" for n in functions if (n.end_lineno or 0) - n.lineno >= 50]
    assert long == []


@pytest.mark.parametrize(
    ("command", "spared"),
    [
        pytest.param("--help", {"polars", "pydantic", "pyarrow", "shutil"}, id="help needs next to nothing"),
        pytest.param("plan", {"aiohttp", "asyncio", "tqdm", "pyarrow", "numpy"}, id="a plan makes no results"),
        pytest.param(
            "run", {"aiohttp", "asyncio", "tqdm", "batchgen.reporting.page"}, id="a night of nothing sends nothing"
        ),
    ],
)
def test_no_command_waits_for_what_it_does_not_need(command: str, spared: set[str], job, batchgen):
    """Importing is nearly all that a small job's plan takes."""
    path = job([{"id": "1", "name": "stove"}])
    if command == "run":
        assert batchgen("run", "--local", path).returncode == 0
    asked = [command] if command == "--help" else [command, "--local", str(path)]
    told = (
        f"import atexit, sys; sys.argv = ['batchgen', *{asked}]\nfrom batchgen.__main__ import main\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    )
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert not spared & set(ended.stderr.split())


def test_what_is_left_at_the_end_is_not_gone_over_once_more():
    told = (
        "import atexit, gc, sys; sys.argv = ['batchgen', '--version']\nfrom batchgen.__main__ import main\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > len(gc.get_objects()), file=sys.stderr)); main()"
    )
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert ended.stderr.split() == ["True"]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "."], id="ruff finds nothing"),
        pytest.param(["ruff", "format", "--check", "."], id="the formatter changes nothing"),
        pytest.param(["mypy"], id="mypy --strict finds nothing"),
    ],
)
def test_the_checkers_are_content(command: list[str]):
    ran = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_readme_job_file_is_a_job_file(tmp_path: Path):
    path = tmp_path / "seo.yaml"
    path.write_text(blocks("yaml")[0], encoding="utf-8")
    job = load_job(path)
    assert job.request.model == "palmyra-x5"
    shown = yaml.safe_load(blocks("yaml")[0])
    assert set(shown) == set(Job.model_fields), "the example shows every key there is"


def test_the_readme_names_every_exit_code():
    codes = {0, errors.ROWS_FAILED} | {
        kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)} == codes


def test_every_command_the_readme_names_exists():
    listed = subprocess.run([BIN / "batchgen", "--help"], capture_output=True, text=True, check=True).stdout
    named = set(re.findall(r"batchgen (run|plan|status|export|serve|init|schema|report|prune|merge)\b", README))
    assert named <= set(re.findall(r"^  (\w+) ", listed, re.MULTILINE))
    assert {"run", "plan", "status", "export", "serve", "init", "schema"} <= named


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


def test_the_readme_notebook_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for folder in ("jobs", "sample_data"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "jobs").unlink()
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "seo.yaml").write_bytes((ROOT / "jobs" / "seo.yaml").read_bytes())
    ran = subprocess.run(
        [sys.executable, "-c", blocks("python")[0]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
