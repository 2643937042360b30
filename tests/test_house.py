"""The house itself: imports point only upwards, the checkers are content, and the README is true."""

from __future__ import annotations

import ast
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

FLOORS = """
errors ui.terminal ui.humanize api.usage storage.location ui.panel ui.logs event_loop runner.descriptors storage.folders api.body storage.aws_profile storage.block_reader storage.settings storage.error_messages storage.object_store storage.manifest
job.yaml
api.repair api.sse api.types api.error_body api.error_responses api.unusable api.openai api.writer api.dialects api.credentials api.proxy api.tls api.timeouts api.encodings api.connection_pool api.client
job.types job.shard job.sections job.endpoint job.engine job.notify job.agreement job.checks job.error_messages job.job job.checker
input.bounds input.foreign storage.listing input.csv_records input.csv_format input.parquet_steps input.parquet_format input.ndjson_types input.ndjson_format input.formats input.source
input.template.values input.template.cells input.template.growth input.template.kinds input.template.filters input.template.operators input.template.sandbox input.template.names input.template.error_messages
input.texts
input.prompt_template checkpoint.row_key input.request
checkpoint.schema checkpoint.checkpoint checkpoint.database checkpoint.history checkpoint.reader checkpoint.group_commit storage.file_lock send.shared_rate checkpoint.salvage checkpoint.in_flight checkpoint.index runner.adoption runner.preflight runner.plan runner.tasks
send.pacing send.window send.limits send.retry send.stops send.stats send.blame send.dispatcher runner.recheck runner.outlook runner.progress
output.column_names output.schema storage.swap storage.atomic output.destination output.decode output.input_columns output.columns output.csv_export output.gate output.parquet_writer output.publish output.interleave output.frames
reporting.wording
reporting.subject reporting.queries reporting.spent reporting.timeline reporting.texts reporting.facts
reporting.plots reporting.sections reporting.page reporting.write
send.engines.load_balancer send.engines.local send.engines.worker send.engines.ray_cluster send.engines.ray
simulator.draw simulator.model simulator.limits simulator.faults simulator.options simulator.ledger simulator.responses simulator.server
simulator.child simulator.__main__
runner.owner runner.prepare runner.rehearsal runner.signals runner.publish runner.summary runner.sender runner.passes runner.run runner.webhook runner.metrics runner.notifications runner.forecast runner.status runner.earlier commands output.merge notebook cli.render job.scaffold cli.streams cli.watch
cli.shell_completion cli.options cli.serve cli.main __main__
""".replace("api.contract?", "").split()
"""Every module, in the order data flows: a module imports only those before it."""


def modules() -> list[str]:
    found = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return [".".join(path.parts) for path in found if path.name != "__init__"]


def imported(module: str) -> set[str]:
    """The modules of this package that a module imports, anywhere in it."""
    tree = ast.parse((PACKAGE / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "batchgen":
            base = (node.module or "").removeprefix("batchgen").removeprefix(".")
            names |= {f"{base}.{alias.name}".removeprefix(".") for alias in node.names} | {base}
        elif isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("batchgen.") for alias in node.names if alias.name.startswith("batchgen")}
    return names & set(FLOORS)


def test_every_module_has_its_floor():
    assert sorted(modules()) == sorted(FLOORS)


def test_modules_and_functions_can_be_seen_whole():
    long = []
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        long += [path.name] if text.count("\n") > 300 else []
        functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
        long += [f"{path.name}: {n.name}" for n in functions if (n.end_lineno or 0) - n.lineno >= 50]
    assert long == []


@pytest.mark.parametrize("module", FLOORS)
def test_imports_point_upwards(module: str):
    before = set(FLOORS[: FLOORS.index(module)])
    assert imported(module) <= before, f"{module} imports what comes after it"


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
