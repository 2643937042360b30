"""The built-in server, fuzzed by schemathesis: requests that the services' documents allow are answered as they
say, others are refused, and nothing else ever happens. Seeded: the same requests each time."""

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
from support.chat_contracts import DOCUMENTS, OPENAI, WRITER
from support.service import DOCUMENT, PATH

COMMAND = str(Path(sys.executable).with_name("schemathesis"))
PATIENCE = 120
"""Seconds until a fuzzer that hangs is ended; it takes some five. An answer may take half of them, on a busy machine."""

EXCLUDED = ["ignored_auth"]
"""It wants a wrong key refused: the built-in server takes any. That there must be one is test_server's."""


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


FORMATS = [
    {"type": "text"},
    {
        "type": "json_schema",
        "json_schema": {"type": "object", "properties": {"a": {"enum": [1, None]}}, "required": ["a"]},
    },
    {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array", "items": {"type": "string"}}}},
]


def described_chat(path: str) -> dict:
    """As `described`: with the server's own ranges, without images and tools, and with schemas that it can keep to."""
    document = copy.deepcopy(DOCUMENTS[path])
    schemas = document["components"]["schemas"]
    asked = schemas["chat_request"]["properties"]
    del asked["tools"], asked["tool_choice"]
    for field in {"max_tokens", "max_completion_tokens"} & asked.keys():
        asked[field] |= {"minimum": 1}
    asked["temperature"] |= {"minimum": 0, "maximum": 2}
    asked["n"] |= {"minimum": 1, "maximum": 20}
    asked["top_p"] |= {"minimum": 0, "exclusiveMinimum": True, "maximum": 1}
    schemas["message"]["properties"]["role"]["enum"].remove("tool")
    schemas["part"] = schemas["part"]["oneOf"][0]
    schemas["response_format"] = {"enum": FORMATS}
    if path == OPENAI:
        asked["guided_json"] = {"enum": [{"type": "boolean"}]}
    answers = document["paths"][path]["post"]["responses"]
    refused = answers.pop("default")
    answers |= {str(status): refused for status in (400, 401, 405, 415)}
    answers["200"]["content"]["text/event-stream"] = {"schema": {"type": "object", "required": ["data"]}}
    return document


def fuzz(folder: Path, url: str, *options: str, document: dict | None = None) -> subprocess.CompletedProcess[str]:
    """Schemathesis in an empty folder: it reads its configuration from where it is, and leaves its notes there."""
    (folder / "described.yaml").write_text(yaml.safe_dump(document or described()), encoding="utf-8")
    command = [COMMAND, "run", "described.yaml", "--url", url, "--header", "Authorization: Bearer any", "--no-color"]
    command += ["--checks", "all", "--exclude-checks", ",".join(EXCLUDED), *options]
    command += ["--seed", "20261123", "--generation-database", "none"]
    command += ["--request-timeout", str(PATIENCE // 2), "--max-response-time", str(PATIENCE // 2)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_the_server_keeps_the_contract_whatever_it_is_asked(tmp_path):
    with serving() as url:
        ended = fuzz(tmp_path, url, "--max-examples", "80")
        with urllib.request.urlopen(f"{url}/ledger", timeout=PATIENCE) as response:
            answered = json.load(response)["billed"]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    cases = re.search(r"(\d+) generated, (\d+) passed", ended.stdout)
    assert cases, ended.stdout
    assert int(cases[2]) > 120
    assert answered > 60, "most were answered, not refused"


@pytest.mark.parametrize("path", [WRITER, OPENAI])
def test_the_chats_keep_their_contracts_whatever_they_are_asked(path, tmp_path):
    with serving() as url:
        ended = fuzz(tmp_path, url, "--max-examples", "60", document=described_chat(path))
        with urllib.request.urlopen(f"{url}/ledger", timeout=PATIENCE) as response:
            answered = json.load(response)["billed"]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    cases = re.search(r"(\d+) generated, (\d+) passed", ended.stdout)
    assert cases, ended.stdout
    assert int(cases[2]) > 75
    assert answered > 40, "most were answered, not refused"


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
