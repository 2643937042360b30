"""The chats' contracts, and whether a body keeps to them."""

import json
from pathlib import Path

import yaml
from openapi_schema_validator import OAS30Validator
from referencing import Registry
from referencing.jsonschema import DRAFT4

WRITER, OPENAI = "/v1/chat", "/v1/chat/completions"
FILES = {WRITER: "writer_chat_openapi.yaml", OPENAI: "openai_chat_openapi.yaml"}
DOCUMENTS = {
    path: yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8")) for path, name in FILES.items()
}
_REGISTRIES = {
    path: Registry().with_resource("urn:api", DRAFT4.create_resource(document)) for path, document in DOCUMENTS.items()
}


def validate(path: str, instance: object, schema: str) -> None:
    """Raises where it is not what the endpoint's document says."""
    reference = {"$ref": f"urn:api#/components/schemas/{schema}"}
    OAS30Validator(reference, registry=_REGISTRIES[path]).validate(instance)


def events(path: str, body: bytes) -> list[dict]:
    """The events of a stream, each validated; `[DONE]` must be the last."""
    *found, done, end = body.decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in found]
    for chunk in chunks:
        validate(path, chunk, "event")
    return chunks
