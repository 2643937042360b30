"""The built-in server, fuzzed by schemathesis: requests that the service's own document allows are answered as it
says, others are refused, and nothing else ever happens. Seeded: the same requests each time."""

import copy
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from support.built_in import serving
from support.service import DOCUMENT, PATH

COMMAND = str(Path(sys.executable).with_name("schemathesis"))
PATIENCE = 120
"""Seconds until a fuzzer that hangs is ended; it takes some five."""

EXCLUDED = ["ignored_auth"]
"""It wants a wrong key refused: the built-in server takes any. That there must be one is test_simulator_server's."""


def described() -> dict:
    """The document, and what it leaves open as the built-in server has it: so each check has something to check.

    - It has no ranges: a temperature of -1e300 is one. Without the server's own it would have to answer it.
    - It does not say that there are no other fields; the server knows none, in requests and in answers.
    - It has no error: neither statuses nor their body, which the vendor's pages have.
    - It calls a stream an array. An event is what the fuzzer sees, whose data is an item of that array.
    """
    document = copy.deepcopy(DOCUMENT)
    schemas = document["components"]["schemas"]
    asked = schemas["completions_request"]["properties"]
    asked["max_tokens"] |= {"minimum": 1}
    asked["temperature"] |= {"minimum": 0, "maximum": 2}
    asked["top_p"] |= {"minimum": 0, "exclusiveMinimum": True, "maximum": 1}
    asked["best_of"] |= {"minimum": 1, "maximum": 20}
    for schema in schemas.values():
        schema["additionalProperties"] = False
    schemas["error"] = ERROR
    responses = document["paths"][PATH]["post"]["responses"]
    for status in (400, 401, 405, 415):
        responses[str(status)] = {"description": "refused", "content": {JSON: {"schema": reference("error")}}}
    responses["200"]["content"]["text/event-stream"] = {"schema": EVENT}
    return document


JSON = "application/json"


def reference(schema: str) -> dict:
    return {"$ref": f"#/components/schemas/{schema}"}


ERROR = {
    "type": "object",
    "required": ["tpe", "errors", "extras"],
    "additionalProperties": False,
    "properties": {
        "tpe": {"type": "string", "minLength": 1},
        "extras": {"type": "object", "nullable": True},
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["description", "key", "extras"],
                "additionalProperties": False,
                "properties": {
                    "description": {"type": "string", "minLength": 1},
                    "key": {"type": "string", "nullable": True},
                    "extras": {"type": "object", "nullable": True},
                },
            },
        },
    },
}
EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "contentMediaType": JSON, "contentSchema": reference("streaming_data")}},
}


def fuzz(folder: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Schemathesis in an empty folder: it reads its configuration from where it is, and leaves its notes there."""
    (folder / "described.yaml").write_text(yaml.safe_dump(described()), encoding="utf-8")
    command = [COMMAND, "run", "described.yaml", "--url", url, "--header", "Authorization: Bearer any", "--no-color"]
    command += ["--checks", "all", "--exclude-checks", ",".join(EXCLUDED), *options]
    command += ["--seed", "20261123", "--generation-database", "none"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_the_server_keeps_the_contract_whatever_it_is_asked(tmp_path):
    with serving() as url:
        ended = fuzz(tmp_path, url, "--max-examples", "200")
        with urllib.request.urlopen(f"{url}/ledger", timeout=PATIENCE) as response:
            answered = json.load(response)["billed"]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    cases = re.search(r"(\d+) generated, (\d+) passed", ended.stdout)
    assert cases, ended.stdout
    assert int(cases[2]) > 300
    assert answered > 150, "most were answered, not refused"


BROKEN = {
    "a status the document has not": ("418=0.9", "Undocumented status code"),
    "a body of another kind": ("garbage=0.9", "Undocumented Content-Type"),
    "a good request refused": ("400=0.9", "Schema-valid request rejected"),
}


@pytest.mark.parametrize(("fault", "told"), BROKEN.values(), ids=BROKEN)
def test_the_fuzzer_tells_a_server_that_does_not(fault, told, tmp_path):
    with serving("--fault", fault) as url:
        ended = fuzz(tmp_path, url, "--max-examples", "30", "--phases", "fuzzing", "--no-shrink", "--max-failures", "1")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert told in ended.stdout
