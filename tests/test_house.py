"""The house itself: imports point only upwards, and the checkers are content."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "batchgen"
BIN = Path(sys.executable).parent

ROOMS = [
    "_version",
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
    "tables",
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
        if isinstance(node, ast.ImportFrom):
            here = ["batchgen", *module[: len(module) - node.level]] if node.level else []
            of = ".".join([*here, *filter(None, [node.module])])
            names |= {f"{of}.{alias.name}" for alias in node.names if of.split(".")[0] == "batchgen"}
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
        pytest.param(
            "--help", {"polars", "pydantic", "pyarrow", "shutil", "logging", "decimal"}, id="help needs next to nothing"
        ),
        pytest.param("plan", {"aiohttp", "asyncio", "tqdm", "pyarrow", "numpy"}, id="a plan makes no results"),
        pytest.param("status", {"polars", "pyarrow", "jinja2", "asyncio"}, id="a status reads no row"),
        pytest.param(
            "run", {"aiohttp", "asyncio", "tqdm", "batchgen.reporting.page"}, id="a night of nothing sends nothing"
        ),
        pytest.param(
            "run --fresh",
            {"numpy", "pandas", "dateutil", "tornado", "pyarrow._s3fs", "aiohttp", "tqdm"},
            id="the built-in model needs no HTTP, and results none of what libraries like to have",
        ),
    ],
)
def test_no_command_waits_for_what_it_does_not_need(command: str, spared: set[str], job, batchgen):
    """Importing is nearly all that a small job's plan takes."""
    path = job([{"id": "1", "name": "stove"}])
    if command in ("run", "status"):
        assert batchgen("run", "--local", path).returncode == 0
    asked = [command] if command == "--help" else [*command.split(), "--local", str(path)]
    told = (
        f"import atexit, sys; sys.argv = ['batchgen', *{asked}]\nfrom batchgen.__main__ import main\n"
        "atexit.register(lambda: print(*filter(sys.modules.get, sys.modules), file=sys.stderr)); main()"
    )
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert not spared & set(ended.stderr.split())


def test_garbage_is_collected_while_requests_are_sent_and_in_a_notebook_as_ever():
    told = (
        "import gc\nfrom batchgen import event_loop\nfrom batchgen.__main__ import spare_the_collector\n"
        "async def at_work(): return gc.isenabled(), gc.get_freeze_count() > 0\n"
        "print(gc.isenabled(), event_loop.run(at_work()), gc.isenabled())\nspare_the_collector()\n"
        "print(gc.isenabled(), event_loop.run(at_work()), gc.isenabled(), gc.get_freeze_count())"
    )
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == ["True (True, False) True", "False (True, True) False 0"]


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
