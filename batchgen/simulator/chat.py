"""Answers chats, Writer's and OpenAI's: from a request's body to the body of the answer.

Tokens are the model's: words and signs. `usage`, `max_tokens` and the server's limits count these.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from batchgen.api.types import SERVER_MAX_TOKENS, TokenLogProb
from batchgen.simulator import MODEL, chat_responses, model, requests, response_format
from batchgen.simulator.answers import Answer, RejectedError
from batchgen.simulator.chat_responses import Choice, Header, Usage
from batchgen.simulator.draw import TOP, Draw
from batchgen.simulator.json_writer import JsonWriter
from batchgen.simulator.ledger import digest
from batchgen.simulator.model import LONGEST, Generated, Sampling
from batchgen.simulator.ngram import tokenize
from batchgen.simulator.requests import ChatRequest, OpenAIChatRequest
from batchgen.simulator.response_format import Guide
from batchgen.simulator.schema import UnsupportedSchemaError
from batchgen.simulator.sentences import Generation

PATH, OPENAI_PATH = "/v1/chat", "/v1/chat/completions"
REFUSAL = "I cannot help with that."


class Chat:
    """Answers one chat request. Each service has a subclass for what is its own."""

    seed: int | None = None
    alternatives = TOP
    limit = SERVER_MAX_TOKENS
    refused_content: str | None = ""

    def __init__(self, request: ChatRequest) -> None:
        """Raises RejectedError."""
        requests.check(request)
        self._request = request
        self.text = "\n\n".join(message.text for message in request.messages)
        self.prompt_tokens = len(tokenize(self.text))
        self._prompt = _prompt(request)
        self._guide = self._read_format()

    def _read_format(self) -> Guide | None:
        if (wanted := self.wanted_format()) is None:
            return None
        try:
            return response_format.read(wanted, self._prompt)
        except UnsupportedSchemaError as error:
            raise _unsupported(error) from None

    def wanted_format(self) -> dict[str, Any] | None:
        """Returns the request's `response_format`, or what stands for it."""
        return self._request.response_format

    def answer(self) -> tuple[Answer, int]:
        """Returns the answer and its tokens."""
        found = [self._generated(n) for n in range(self._request.n or 1)]
        has_log_probs = bool(self._request.logprobs)
        choices = [chat_responses.choice(n, one, has_log_probs=has_log_probs) for n, one in enumerate(found)]
        return self._encode(choices, [one.content for one in found])

    def refuse(self) -> tuple[Answer, int]:
        """Returns the model's refusal, and no tokens."""
        numbers = range(self._request.n or 1)
        refused = [chat_responses.refusal(n, self.refused_content, REFUSAL) for n in numbers]
        return self._encode(refused, [[] for _ in numbers])

    def _encode(self, choices: list[Choice], tokens: list[list[TokenLogProb]]) -> tuple[Answer, int]:
        spent = sum(map(len, tokens))
        usage = Usage(self.prompt_tokens, spent, self.prompt_tokens + spent)
        header = Header(f"chatcmpl-{digest(self.text)[:24]}", int(time.time()), MODEL)
        if not self._request.stream:
            return Answer([chat_responses.whole(header, choices, usage)], "application/json"), spent
        options = self._request.stream_options
        shown = usage if options is not None and options.include_usage else None
        return Answer(chat_responses.events(header, choices, tokens, shown), "text/event-stream"), spent

    def _generated(self, number: int) -> Generated:
        """Generates one choice. It depends only on the messages' text, the seed, and its number."""
        sampling = Sampling(
            draw=Draw.for_request(
                self._request.temperature, self._request.top_p, self.alternatives if self._request.logprobs else 0
            ),
            max_tokens=self.limit,
            stops=model.stop_strings(self._request.stop),
        )
        try:
            found = model.generate(self._generation, sampling, f"{digest(self.text)} {self.seed} {number}")
        except UnsupportedSchemaError as error:
            raise _unsupported(error) from None
        if self._guide is not None and not found.is_cut and not sampling.stops and not self._guide.allows(found.text):
            raise _unsupported("the built-in server found no value that the schema allows")
        return found

    def _generation(self) -> Generation:
        """Starts an answer. JSON is about the last message only: the system message mostly repeats the schema."""
        if self._guide is not None:
            return JsonWriter(model.load(), self._request.messages[-1].text, self._guide.schema).generation()
        return model.load().generation(self._prompt, is_chat=True)


class WriterChat(Chat):
    """Answers `POST /v1/chat`. There is no seed, and the content of a refusal is an empty string."""

    def __init__(self, body: bytes) -> None:
        request = requests.decode(_writer, body)
        self.limit = SERVER_MAX_TOKENS if request.max_tokens is None else request.max_tokens
        if request.response_format is not None and request.response_format.get("type") == "json_object":
            raise _unsupported("json_object is not of this service; write json_schema")
        super().__init__(request)


class OpenAIChat(Chat):
    """Answers `POST /v1/chat/completions` as own servers do: without `max_tokens` the model ends an answer."""

    refused_content = None

    def __init__(self, body: bytes) -> None:
        request = requests.decode(_openai, body)
        limits = [limit for limit in (request.max_tokens, request.max_completion_tokens, LONGEST) if limit is not None]
        self.limit, self.seed, self.alternatives = min(limits), request.seed, request.top_logprobs or 0
        self._guided = request.guided_json
        super().__init__(request)

    def wanted_format(self) -> dict[str, Any] | None:
        """Returns the format. vLLM's `guided_json` is a schema, too."""
        return super().wanted_format() if self._guided is None else {"type": "json_schema", "json_schema": self._guided}


def _prompt(request: ChatRequest) -> str:
    """Returns what is answered: the system messages and the last message."""
    *earlier, last = request.messages
    return "\n\n".join([*(message.text for message in earlier if message.role == "system"), last.text])


def _unsupported(error: UnsupportedSchemaError | str) -> RejectedError:
    return RejectedError(400, "InvalidInputParameters", f"response_format: {error}", "response_format")


_writer = msgspec.json.Decoder(ChatRequest)
_openai = msgspec.json.Decoder(OpenAIChatRequest)
