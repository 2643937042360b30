"""The texts of a job that become a request: one prompt, or the messages of a chat. Each is a template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, ValidationInfo

from batchgen.job.named_file import read_text
from batchgen.job.types import JobPath, Section, relative_to_job

Role = Literal["system", "user", "assistant"]


class TextFile(Section):
    """A text in a file of its own: UTF-8, relative to the job file."""

    file: JobPath


class MessageTemplate(NamedTuple):
    """One template. `role` is None for a prompt; `place` names it in error messages."""

    role: str | None
    text: str
    place: str


def _text(given: Any, info: ValidationInfo) -> Any:
    """Reads the text of `{file: PATH}`. Anything else is left to the type."""
    if not isinstance(given, Mapping):
        return given
    if set(given) != {"file"}:
        raise ValueError("should be a text, or {file: PATH}")
    return read_text(relative_to_job(given["file"], info))


Text = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | TextFile), Field(min_length=1)]


def _one_role(message: Any) -> Any:
    """Refuses what is not one role and its text, also `role` and `content` as the API has them."""
    if not isinstance(message, Mapping) or len(message) != 1:
        raise ValueError("should have one key, its role, such as `- user: Write about {{ name }}.`")
    return message


Message = Annotated[dict[Role, Text], BeforeValidator(_one_role)]


def files_named(values: Mapping[Any, Any]) -> dict[str, str]:
    """Returns the files of texts that stand in files of their own, by the place that names them; nothing is checked
    yet."""
    messages = values.get("messages")
    texts = {"prompt": values.get("prompt")}
    for number, message in enumerate(messages if isinstance(messages, list) else (), 1):
        texts |= {f"{number} {role}": text for role, text in message.items()} if isinstance(message, Mapping) else {}
    return {place: str(text["file"]) for place, text in texts.items() if isinstance(text, Mapping) and "file" in text}


def templates_of(
    prompt: str | None, messages: Sequence[Mapping[Role, str]] | None, files: Mapping[str, str]
) -> list[MessageTemplate]:
    """Returns a job's templates in their order: its prompt, or its messages. `files` as `files_named` has them."""
    if prompt is not None:
        return [MessageTemplate(None, prompt, files.get("prompt", "prompt"))]
    return [
        MessageTemplate(role, text, files.get(f"{number} {role}", f"messages: number {number} ({role})"))
        for number, message in enumerate(messages or (), 1)
        for role, text in message.items()
    ]
