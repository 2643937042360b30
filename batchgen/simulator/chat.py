"""The chats, Writer's and OpenAI's: from a request's body to the answer as it is sent.

The service's own tokens are the model's: words and signs. `usage` counts them, `max_tokens` ends by them, and so do
the limits of the server.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from batchgen.api.types import SERVER_MAX_TOKENS, TokenLogProb
from batchgen.simulator import chat_responses, model, requests, response_format
from batchgen.simulator.chat_responses import Choice, Named, Usage
from batchgen.simulator.draw import TOP, Draw
from batchgen.simulator.json_writer import JsonWriter
from batchgen.simulator.ledger import digest
from batchgen.simulator.model import LONGEST, Generated, Sampling
from batchgen.simulator.ngram import tokenize
from batchgen.simulator.requests import OpenAIChat, WriterChat
from batchgen.simulator.response_format import Guide
from batchgen.simulator.responses import Answer, RejectedError
from batchgen.simulator.schema import UnsupportedSchemaError
from batchgen.simulator.sentences import Speech

PATH, OPENAI_PATH = "/v1/chat", "/v1/chat/completions"
REFUSAL = "I cannot help with that."


class Chat:
    """An exchange of messages. A subclass per service says what they do not share."""

    seed: int | None = None
    alternatives = TOP
    limit = SERVER_MAX_TOKENS
    refused_content: str | None = ""

    def __init__(self, asked: WriterChat | OpenAIChat) -> None:
        """Raises RejectedError."""
        requests.check(asked)
        self._asked = asked
        self.text = "\n\n".join(message.text for message in asked.messages)
        self.prompt_tokens = len(tokenize(self.text))
        self._prompt = _prompt(asked)
        self._guide = self._read_format()

    def _read_format(self) -> Guide | None:
        if (wanted := self.wanted_format()) is None:
            return None
        try:
            return response_format.read(wanted, self._prompt)
        except UnsupportedSchemaError as error:
            raise _unsupported(error) from None

    def wanted_format(self) -> dict[str, Any] | None:
        """What `response_format` is, or stands for."""
        return self._asked.response_format

    def answer(self) -> tuple[Answer, int]:
        found = [self._generated(n) for n in range(self._asked.n or 1)]
        has_log_probs = bool(self._asked.logprobs)
        choices = [chat_responses.choice(n, one, has_log_probs=has_log_probs) for n, one in enumerate(found)]
        return self._said(choices, [one.content for one in found])

    def refuse(self) -> tuple[Answer, int]:
        numbers = range(self._asked.n or 1)
        refused = [chat_responses.refusal(n, self.refused_content, REFUSAL) for n in numbers]
        return self._said(refused, [[] for _ in numbers])

    def _said(self, choices: list[Choice], tokens: list[list[TokenLogProb]]) -> tuple[Answer, int]:
        spent = sum(map(len, tokens))
        usage = Usage(self.prompt_tokens, spent, self.prompt_tokens + spent)
        named = Named(f"chatcmpl-{digest(self.text)[:24]}", int(time.time()), model.NAME)
        if not self._asked.stream:
            return Answer([chat_responses.whole(named, choices, usage)], "application/json"), spent
        options = self._asked.stream_options
        told = usage if options is not None and options.include_usage else None
        return Answer(chat_responses.events(named, choices, tokens, told), "text/event-stream"), spent

    def _generated(self, number: int) -> Generated:
        """A choice. Deterministic: of the messages' text, the seed, and its number."""
        sampling = Sampling(
            draw=Draw.of(self._asked.temperature, self._asked.top_p, self.alternatives if self._asked.logprobs else 0),
            max_tokens=self.limit,
            stops=model.stop_strings(self._asked.stop),
        )
        try:
            found = model.generate(self._speech, sampling, f"{digest(self.text)} {self.seed} {number}")
        except UnsupportedSchemaError as error:
            raise _unsupported(error) from None
        if self._guide is not None and not found.is_cut and not sampling.stops and not self._guide.allows(found.text):
            raise _unsupported("the built-in server found no value that the schema allows")
        return found

    def _speech(self) -> Speech:
        """JSON is about the last message alone: what the system says of its form, the schema says, too."""
        if self._guide is not None:
            return JsonWriter(model.load(), self._asked.messages[-1].text, self._guide.schema).speech()
        return model.load().speech(self._prompt, is_chat=True)


class WritersChat(Chat):
    """`POST /v1/chat`: it has no seed, and a refusal's content is an empty string."""

    def __init__(self, body: bytes) -> None:
        asked = requests.decode(_writer, body)
        self.limit = SERVER_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens
        if asked.response_format is not None and asked.response_format.get("type") == "json_object":
            raise _unsupported("json_object is not of this service; write json_schema")
        super().__init__(asked)


class OpenAIsChat(Chat):
    """`POST /v1/chat/completions` as own servers speak it: without `max_tokens` an answer comes to its own end."""

    refused_content = None

    def __init__(self, body: bytes) -> None:
        asked = requests.decode(_openai, body)
        limits = [limit for limit in (asked.max_tokens, asked.max_completion_tokens, LONGEST) if limit is not None]
        self.limit, self.seed, self.alternatives = min(limits), asked.seed, asked.top_logprobs or 0
        self._guided = asked.guided_json
        super().__init__(asked)

    def wanted_format(self) -> dict[str, Any] | None:
        """vLLM's `guided_json` is a schema, too."""
        return super().wanted_format() if self._guided is None else {"type": "json_schema", "json_schema": self._guided}


def _prompt(asked: WriterChat | OpenAIChat) -> str:
    """What is answered: the last message, by what the system says."""
    *earlier, last = asked.messages
    return "\n\n".join([*(message.text for message in earlier if message.role == "system"), last.text])


def _unsupported(error: UnsupportedSchemaError | str) -> RejectedError:
    return RejectedError(400, "InvalidInputParameters", f"response_format: {error}", "response_format")


_writer = msgspec.json.Decoder(WriterChat)
_openai = msgspec.json.Decoder(OpenAIChat)
