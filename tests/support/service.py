"""A strict, scriptable stand-in for the service: every request is held against the OpenAPI document, every prompt
has an answer of its own, and what was asked and served is counted. Runs in a thread; `Service` is its context.

A test scripts it: `service.script = lambda n, body: Status(500) if n == 1 else None`, where `n` counts the valid
requests from 1, `body` is the request as decoded, and None is the prompt's own answer.
"""

import asyncio
import functools
import hashlib
import json
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import yaml
from aiohttp import web
from openapi_schema_validator import OAS30Validator, oas30_format_checker
from referencing import Registry
from referencing.jsonschema import DRAFT4

PATH = "/v1/completions"
KEY = "test-key-4f1d0c"
PATIENCE = 30.0
"""Seconds that a test waits for what must happen; a bound for broken code, never a measure of it."""
MAX_BODY = 64 << 20

DOCUMENT = yaml.safe_load((Path(__file__).parent / "writer_completions_openapi.yaml").read_text(encoding="utf-8"))
_REGISTRY = Registry().with_resource("urn:api", DRAFT4.create_resource(DOCUMENT))
_FIELDS = set(DOCUMENT["components"]["schemas"]["completions_request"]["properties"])


def _validator(schema: str) -> OAS30Validator:
    reference = {"$ref": f"urn:api#/components/schemas/{schema}"}
    return OAS30Validator(reference, registry=_REGISTRY, format_checker=oas30_format_checker)


_REQUEST = _validator("completions_request")
_RESPONSE = _validator("completions_response")

_WORDS = (
    "Möwe",
    " ½",
    " Zelt",
    ' "quoted"',
    "\r\n",
    "\n",
    " 東京",
    " 🏕️",
    "\t",
    " {{ 7*7 }}",
    " \u2028",
    "\x00",
    " naïve",
)


@functools.cache
def expected_answer(prompt: str) -> dict[str, Any]:
    """The one choice that answers a prompt: `text` and `log_probs`, as the service sends them."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    chance = random.Random(digest)
    words = [digest[:16], *chance.choices(_WORDS, k=chance.randint(4, 9)), " ", digest[16:]]
    content = [token for word in words for token in _tokens(word, chance)]
    shape = int(digest[0], 16)
    shapes = {
        0: None,
        1: {"content": None, "refusal": content},
        2: {"content": [], "refusal": None},
        3: {"content": content, "refusal": []},
    }
    return {"text": "".join(words), "log_probs": shapes.get(shape, {"content": content, "refusal": None})}


def _tokens(word: str, chance: random.Random) -> list[dict[str, Any]]:
    """One token a word; an emoji's bytes are spread over two, as real tokenizers do."""
    spelled = word.encode()
    pieces = [spelled[:3], spelled[3:]] if "🏕" in word else [spelled]
    return [_token(piece, chance) for piece in pieces]


def _token(spelled: bytes, chance: random.Random) -> dict[str, Any]:
    def likely(token: bytes) -> dict[str, Any]:
        logprob = chance.choice([0.0, -0.0, -9999.0, -5e-324, -1e-17, *[-chance.expovariate(0.4) for _ in range(15)]])
        shown = {"token": token.decode(errors="replace"), "logprob": logprob}
        return shown | ({"bytes": list(token)} if chance.random() < 0.9 else {})

    others = [likely(chance.choice(_WORDS).encode()) for _ in range(chance.choice([0, 1, 3]))]
    return likely(spelled) | {"top_logprobs": others}


def as_stored(log_probs: dict[str, Any] | None) -> dict[str, Any] | None:
    """Log-probs as the results' column holds them: the same, with what was left out as nulls."""

    def token(given: dict[str, Any]) -> dict[str, Any]:
        return {"token": given["token"], "logprob": given["logprob"], "bytes": given.get("bytes")}

    def tokens(given: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        if given is None:
            return None
        return [{**token(t), "top_logprobs": [token(top) for top in t["top_logprobs"]]} for t in given]

    return log_probs and {name: tokens(log_probs[name]) for name in ("content", "refusal")}


def served_model(requested: str) -> str:
    """What an answer names as its model: never quite what was asked for."""
    return f"{requested}-served"


def completion(body: Mapping[str, Any]) -> dict[str, Any]:
    """The whole default answer to a request."""
    return {"choices": [expected_answer(body["prompt"])], "model": served_model(body["model"])}


def completion_bytes(body: Mapping[str, Any]) -> bytes:
    escaped = len(body["prompt"]) % 2 == 0
    return json.dumps(completion(body), ensure_ascii=escaped).encode()


def events_bytes(body: Mapping[str, Any]) -> bytes:
    """The answer as server-sent events, with one of the line ends that a stream may have; it marks its end always, as one
    that does so once must."""
    text = expected_answer(body["prompt"])["text"]
    chance = random.Random(text)
    cuts = sorted(chance.sample(range(1, len(text)), 3))
    values = [text[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    line = chance.choice(["\n", "\r\n"])
    events = [f"data: {json.dumps({'value': value}, ensure_ascii=False)}" for value in values]
    end = 2 * line + "data: [DONE]" + chance.choice([2 * line, "", line])
    return ((2 * line).join(events) + end).encode()


def error_body(tpe: str, description: str, key: str | None = None) -> dict[str, Any]:
    """The contract's error body."""
    return {"tpe": tpe, "errors": [{"description": description, "key": key, "extras": None}], "extras": None}


@dataclass(frozen=True)
class Exchange:
    """A valid request, and its body as decoded."""

    service: "Service"
    request: web.Request
    body: dict[str, Any]

    async def answer(self) -> web.StreamResponse:
        """The prompt's own answer: JSON whole, or a stream in pieces that respect no character's bounds."""
        whole, content_type = self.service.encoded(self.body)
        self.service.count_served(self.service.asked_for(self.body))
        if not self.body.get("stream"):
            return web.Response(body=whole, content_type=content_type)
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(self.request)
        step = 1 + len(whole) // 3
        for start in range(0, len(whole), step):
            await response.write(whole[start : start + step])
        return response

    def abort(self) -> web.StreamResponse:
        """Ends the connection by RST."""
        transport = self.request.transport
        if transport is not None:
            plug = transport.get_extra_info("socket")
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        return web.Response()


class Action(Protocol):
    """What the service does with a request."""

    async def __call__(self, exchange: Exchange) -> web.StreamResponse: ...


@dataclass(frozen=True)
class Status:
    """An answer by status; a mapping as body is sent as JSON, a text as HTML."""

    status: int
    body: Mapping[str, Any] | str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, _):
        if isinstance(self.body, str):
            return web.Response(status=self.status, text=self.body, content_type="text/html", headers=self.headers)
        return web.json_response(self.body, status=self.status, headers=self.headers)


@dataclass(frozen=True)
class Raw:
    """A 200 with these very bytes."""

    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, _):
        return web.Response(body=self.body, content_type=self.content_type, headers=self.headers)


@dataclass(frozen=True)
class Delay:
    """The prompt's own answer, after a while."""

    seconds: float

    async def __call__(self, exchange):
        await asyncio.sleep(self.seconds)
        return await exchange.answer()


@dataclass(frozen=True)
class Hang:
    """No answer; the connection is closed after a while, or when the client or the test is gone."""

    seconds: float = PATIENCE

    async def __call__(self, exchange):
        await asyncio.sleep(self.seconds)
        return exchange.abort()


@dataclass(frozen=True)
class Hold:
    """The prompt's own answer, once the test calls `service.release()`."""

    async def __call__(self, exchange):
        await exchange.service.released.wait()
        return await exchange.answer()


@dataclass(frozen=True)
class Gather:
    """The prompt's own answer, once this many requests are in flight at the same time."""

    number: int

    async def __call__(self, exchange):
        await exchange.service.gathered(self.number)
        return await exchange.answer()


@dataclass(frozen=True)
class Reset:
    """The connection is reset before a byte is answered."""

    async def __call__(self, exchange):
        return exchange.abort()


@dataclass(frozen=True)
class Cut:
    """The prompt's own answer, ended in its middle: a chunked body without its last chunk, or one that is
    shorter than its Content-Length."""

    chunked: bool

    async def __call__(self, exchange):
        whole, content_type = exchange.service.encoded(exchange.body)
        response = web.StreamResponse(headers={"Content-Type": content_type})
        if self.chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = len(whole)
        await response.prepare(exchange.request)
        await response.write(whole[: len(whole) // 2])
        exchange.request.transport.close()  # what was written is sent before the connection ends
        return response


def _encoded(body: Mapping[str, Any]) -> tuple[bytes, str]:
    if body.get("stream"):
        return events_bytes(body), "text/event-stream"
    return completion_bytes(body), "application/json"


Script = Callable[[int, dict[str, Any]], Action | None] | None


class Service:
    """The server, while the block lasts. Its counts may be read at any time from the test's thread.

    `requests` counts everything that came, `bodies` and `headers` are those of valid requests, `served` counts
    whole answers by prompt, `violations` are requests that the contract forbids, `strays` those to other paths.
    """

    def __init__(self, port: int = 0) -> None:
        """`port`: any free one, or that of a server that is to come back."""
        self.port = port
        self.key = KEY
        self.path = PATH
        self.script: Script = None
        self.requests = 0
        self.in_flight = 0
        self.in_flight_max = 0
        self.served: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.violations: list[str] = []
        self.strays: list[str] = []
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="service")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked_for(self, body: Mapping[str, Any]) -> str:
        """What tells one request from another."""
        return body["prompt"]

    def encoded(self, body: Mapping[str, Any]) -> tuple[bytes, str]:
        """The default answer to a request, and its content type."""
        return _encoded(body)

    def release(self) -> None:
        """Lets every `Hold` answer, those to come too."""
        self._loop.call_soon_threadsafe(self.released.set)

    def wait(self, until: Callable[["Service"], bool]) -> None:
        """Returns when `until(service)` holds; fails when it does not come to that."""
        with self._changed:
            assert self._changed.wait_for(lambda: until(self), PATIENCE), "the service waited in vain"

    async def gathered(self, number: int) -> None:
        """Returns, in the server, once this many requests are or were in flight at the same time."""
        while self.in_flight_max < number:
            self._joined.clear()
            await self._joined.wait()

    def count_served(self, prompt: str) -> None:
        with self._telling():
            self.served[prompt] += 1

    def forget(self) -> None:
        """All counts from the start again, and the default script."""
        self.script = None
        self.requests = self.in_flight_max = 0
        for kept in (self.served, self.asked, self.bodies, self.headers, self.violations, self.strays):
            kept.clear()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.released = asyncio.Event()
        self._joined = asyncio.Event()
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._on_request)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, backlog=1024).start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _on_request(self, request: web.Request) -> web.StreamResponse:
        with self._telling():
            self.requests += 1
        if (request.method, request.path) != ("POST", self.path):
            self.strays.append(f"{request.method} {request.path}")
            return web.Response(status=404, text="<html>Not Found</html>", content_type="text/html")
        data = await request.read()
        try:
            body = self._valid(request, data)
        except ValueError as violation:
            self.violations.append(str(violation))
            return web.json_response(error_body("Violation", str(violation)), status=500)
        with self._in_flight(request, body):
            exchange = Exchange(self, request, body)
            action = self.script(len(self.bodies), body) if self.script else None
            return await (action(exchange) if action else exchange.answer())

    @contextmanager
    def _in_flight(self, request: web.Request, body: dict[str, Any]):
        with self._telling():
            self.bodies.append(body)
            self.headers.append(request.headers.copy())
            self.asked[self.asked_for(body)] += 1
            self.in_flight += 1
            self.in_flight_max = max(self.in_flight_max, self.in_flight)
            self._joined.set()
        try:
            yield
        finally:
            with self._telling():
                self.in_flight -= 1

    @contextmanager
    def _telling(self):
        with self._changed:
            yield
            self._changed.notify_all()

    def _valid(self, request: web.Request, data: bytes) -> dict[str, Any]:
        """The request's body. Raises ValueError where the contract forbids the request."""
        if request.headers.getall("Authorization", []) != [f"Bearer {self.key}"]:
            raise ValueError("Authorization is not the key, once")
        if request.headers.get("Content-Type") != "application/json":
            raise ValueError(f"Content-Type: {request.headers.get('Content-Type')}")
        if request.query_string:
            raise ValueError(f"a query: {request.query_string}")
        body = json.loads(data.decode("utf-8"), object_pairs_hook=_without_repeats, parse_constant=_no_constant)
        error = next(_REQUEST.iter_errors(body), None)
        if error is not None:
            raise ValueError(f"{error.json_path}: {error.message}")
        if unknown := body.keys() - _FIELDS:
            raise ValueError(f"fields the contract has not: {unknown}")
        return body


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError(f"a repeated field: {names}")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def validate_answer(answer: Mapping[str, Any]) -> None:
    """Raises where an answer is not the contract's."""
    _RESPONSE.validate(answer)
