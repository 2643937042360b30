"""What becomes of a message that stdout does not take."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND

ROWS = [{"id": f"r{n}", "name": f"shelf {n}"} for n in range(3)]


@pytest.fixture
def into(pointing, tmp_path):
    """Runs the command with such a stdout."""

    def run(stdout, *arguments) -> subprocess.CompletedProcess:
        env = {**os.environ, **pointing, "HOME": str(tmp_path)}
        return subprocess.run(
            [COMMAND, *map(str, arguments)], stdout=stdout, stderr=-1, text=True, check=False, env=env
        )

    return run


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no disk that is always full")
@pytest.mark.parametrize("command", [["plan", "--json"], ["status", "--json"], ["show", "r1"], ["schema"]])
def test_a_file_that_takes_no_more_is_told_and_fails_what_only_prints(command, job, called, into):
    path = job(ROWS)
    assert called("run", path).returncode == 0
    name, *others = command
    with Path("/dev/full").open("w") as full:
        said = into(full, name, *([path] if name != "schema" else []), *others)
    assert (said.returncode, said.stderr.count("error: ")) == (5, 1)
    assert "No space left on device" in said.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no disk that is always full")
def test_a_runs_exit_code_tells_of_its_rows(job, into):
    with Path("/dev/full").open("w") as full:
        said = into(full, "run", job(ROWS), "--json")
    assert said.returncode == 0
    assert "warning: stdout: cannot be written: No space left on device" in said.stderr
    assert len(job.rows()) == 3


def test_a_reader_that_has_gone_away_is_no_fault(job, into):
    read, write = os.pipe()
    os.close(read)
    said = into(write, "plan", job(ROWS), "--json")
    os.close(write)
    assert (said.returncode, said.stderr) == (0, "")
