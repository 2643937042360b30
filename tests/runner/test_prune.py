"""Nothing is dropped because a variable is missing: answers belong to the address that gave them, and are named by it."""

import sqlite3

import pytest
import yaml
from support.own_server import OwnServer
from support.service import Service

ROWS = [{"id": str(n), "name": f"tent {n}"} for n in range(12)]
NOWHERE = {"WRITER_BASE_URL": None}


@pytest.fixture
def complete(job, called):
    path = job(ROWS)
    assert called("run", path).returncode == 0
    return path


def forget_endpoints(job):
    """Makes the checkpoint what 0.3.0 and earlier versions left."""
    with sqlite3.connect(job.checkpoint) as db:
        db.execute("DROP TABLE endpoints")
    db.close()


@pytest.mark.parametrize("is_old", [False, True], ids=["of today", "of an older version"])
def test_a_missing_address_drops_nothing(is_old, job, called, service, complete):
    if is_old:
        forget_endpoints(job)
    ended = called("prune", complete, "--yes", env=NOWHERE)
    assert ended.returncode == 2
    assert "nothing was dropped" in ended.stderr
    assert "set WRITER_BASE_URL as it was for the run" in ended.stderr
    assert (service.url in ended.stderr) is not is_old
    assert called("plan", complete, "--json").json["reused"] == 12
    assert called("prune", complete, "--yes").stdout == "nothing dropped\n"


def test_answers_of_the_input_at_another_address_stay(job, called, service, complete):
    """The job has run at both: neither address drops the other's answers, and both drop what no row asks for."""
    with Service() as other:
        elsewhere = {"WRITER_BASE_URL": other.url, "WRITER_API_KEY": other.key}
        assert called("run", complete, env=elsewhere).returncode == 0
        assert called("prune", complete, "--yes", env=elsewhere).stdout == "nothing dropped\n"
        job.write(ROWS[:10])
        assert "dropped 4" in called("prune", complete, "--yes", env=elsewhere).stdout
    assert called("plan", complete, "--json").json["reused"] == 10


def test_an_edited_prompt_is_pruned_at_its_own_address(job, called, complete):
    assert called("run", job(ROWS, prompt="About {{ name }}, anew.")).returncode == 0
    assert "dropped 12" in called("prune", complete, "--yes").stdout


@pytest.mark.parametrize("name", [None, "gpu"])
def test_another_address_in_the_job_file_drops_nothing(name, job, called, service):
    """Told what to write, one writes it, and has them all again."""
    path = job(ROWS, endpoint={"url": service.url})
    assert called("run", path).returncode == 0
    moved = {"url": "http://127.0.0.1:9"} | ({"name": name} if name else {})
    job(ROWS, endpoint=moved)
    plan = called("plan", path, "--json").json
    assert plan["todo"] == 12
    line = f'`endpoint: {{name: "{service.url}"}}`'
    (warning,) = plan["warnings"]
    assert f"from {service.url}, not from {name or moved['url']}" in warning
    assert line in warning
    ended = called("prune", path, "--yes")
    assert (ended.returncode, "nothing was dropped" in ended.stderr, line in ended.stderr) == (2, True, True)
    job(ROWS, endpoint=moved | yaml.safe_load(line.strip("`"))["endpoint"])
    assert called("plan", path, "--json").json["reused"] == 12
    assert called("prune", path, "--yes").stdout == "nothing dropped\n"


def test_who_grows_from_one_own_server_to_two_keeps_the_answers(job, called):
    """As each message on the way says."""
    with OwnServer() as one, OwnServer() as two:
        path = job(ROWS, endpoint={"api": "openai", "url": f"{one.url}/v1"})
        assert called("run", path).returncode == 0
        both = {"api": "openai", "url": [one.url, two.url]}
        said = f'name: "{one.url}"'
        assert f"`{said}`" in called("plan", job(ROWS, endpoint=both)).stderr
        job(ROWS, endpoint={**both, "name": "gpus"})
        ended = called("prune", path, "--yes")
        assert f"from {one.url}, not from gpus: to use them, write `endpoint: {{{said}}}`" in ended.stderr
        job(ROWS, endpoint={**both, **yaml.safe_load(said)})
        assert called("plan", path, "--json").json["reused"] == 12


def test_a_job_that_has_run_at_both_keeps_what_fits_at_either(job, called, service):
    with Service() as other:
        here, there = {"url": service.url}, {"url": other.url}
        path = job(ROWS, endpoint=here)
        assert called("run", path).returncode == 0
        job(ROWS, endpoint=there)
        assert called("run", path).returncode == 0
        job(ROWS[:10], endpoint=there)
        assert "dropped 4" in called("prune", path, "--yes").stdout
        job(ROWS[:10], endpoint=here)
        assert called("plan", path, "--json").json["reused"] == 10


def test_a_job_that_has_run_by_both_apis_keeps_what_fits_by_either(job, called, service):
    with OwnServer() as own:
        path = job(ROWS, endpoint={"url": service.url}, request={"temperature": 0.5})
        assert called("run", path).returncode == 0
        moved = job(ROWS, endpoint={"api": "openai", "url": own.url}, request={"temperature": 0.5})
        refused = called("prune", moved, "--yes").stderr
        assert f"from {service.url} (api: writer), not from {own.url} (api: openai)" in refused
        assert f'`endpoint: {{api: writer, name: "{service.url}"}}`' in refused
        assert called("run", moved).returncode == 0
        assert called("prune", moved, "--yes").stdout == "nothing dropped\n"
        job(ROWS, endpoint={"url": service.url}, request={"temperature": 0.5})
        assert called("prune", path, "--yes").stdout == "nothing dropped\n"
        assert called("plan", path, "--json").json["reused"] == 12


@pytest.mark.parametrize("command", ["plan", "run", "show", "export", "report"])
def test_who_forgets_the_address_hears_of_it(command, job, called, service, complete):
    with Service() as other:
        elsewhere = {"WRITER_BASE_URL": other.url, "WRITER_API_KEY": other.key}
        ended = called(command, complete, *(["1"] if command == "show" else []), env=elsewhere)
        assert ended.returncode == 0
        words = f"the stored answers are from {service.url}, not from {other.url}"
        assert words in (ended.stdout if command == "plan" else ended.stderr)
        again = called(command, complete, *(["1"] if command == "show" else []))
        assert "the stored answers are from" not in again.stdout + again.stderr


def test_who_moves_the_server_that_the_variable_names_hears_which_name_keeps_the_answers(
    job, called, service, complete
):
    with Service() as other:
        elsewhere = {"WRITER_BASE_URL": other.url, "WRITER_API_KEY": other.key}
        (warning,) = called("plan", complete, "--json", env=elsewhere).json["warnings"]
        line = f'`endpoint: {{name: "{service.url}"}}`'
        assert f"set WRITER_BASE_URL as it was for the run, or, where the server has moved, write {line}" in warning
        job(ROWS, endpoint=yaml.safe_load(line.strip("`"))["endpoint"])
        assert called("plan", complete, "--json", env=elsewhere).json["reused"] == 12
    job(ROWS)
    (warning,) = called("plan", complete, "--json", env=NOWHERE).json["warnings"]
    assert warning.endswith("set WRITER_BASE_URL as it was for the run"), "who only forgot it shall set it"


def test_a_first_run_hears_nothing_of_it(job, called):
    path = job(ROWS)
    assert called("plan", path, "--json").json["warnings"] == []
    assert "warning" not in called("run", path).stderr
    local = called("run", path, "--local")
    assert "warning" not in local.stderr


def test_one_and_several(job, called, complete):
    job.write(ROWS[:11])
    assert "1 stored answer no longer matches any input row" in called("prune", complete, "--yes").stdout
    job.write(ROWS[:9])
    assert "2 stored answers no longer match any input row" in called("prune", complete, "--yes").stdout


def test_a_job_of_one_row_is_said_in_the_singular(job, called, service):
    path = job(ROWS[:1])
    ended = called("run", path)
    said = called("plan", path).stdout + ended.stdout + ended.stderr + called("status", path).stdout
    assert "1 of 1 row (100 %)" in said
    assert "1 of 1 row has its text" in said
    assert "1 has its text" in said
    assert " 1 rows" not in said
    job.write([{"id": "1", "name": ""}])
    assert "1 of 1 row cannot be sent" in called("plan", path).stderr
