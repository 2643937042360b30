"""The built-in server: the service's endpoint on a socket, with the built-in model behind it.

It speaks the contract as documented and keeps a ledger of what it would have billed. It must never pass
for the service, forward anything to it, or keep a prompt (the ledger holds digests).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from aiohttp import web

from batchgen import loop
from batchgen.api import stream
from batchgen.api.contract import PATH, Choice, Completion, CompletionRequest
from batchgen.errors import UsageError
from batchgen.simulator import model

LARGEST_BODY = 64 * 2**20
HOTTEST = 2.0
MOST_CANDIDATES = 20
MODELS = msgspec.json.encode({"models": [{"id": model.NAME, "name": "Built-in n-gram model"}]})
_BACKLOG = 4096
"""Connections waiting to be accepted: a client may open all of its own at once."""
_SHUTDOWN = 2.0
"""Seconds that answers under way get to be sent when the server stops."""
_FIELD = re.compile(r"at `\$\.(\w+)|field `(.+)`$")


class Ledger:
    """What was asked and what was billed. An answer counts as billed once it is generated, read or not."""

    def __init__(self) -> None:
        self.requests = 0
        self.billed: Counter[str] = Counter()
        self.in_flight = 0
        self.in_flight_max = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """While a request that was accepted is being answered."""
        self.requests += 1
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def bill(self, prompt: str) -> None:
        self.billed[hashlib.sha256(prompt.encode()).hexdigest()] += 1

    def as_json(self) -> bytes:
        """`prompts` is times billed by the prompt's SHA-256, in hex."""
        totals = {"requests": self.requests, "billed": self.billed.total(), "in_flight_max": self.in_flight_max}
        return msgspec.json.encode({**totals, "prompts": self.billed})


LEDGER = web.AppKey("ledger", Ledger)


class RejectedError(Exception):
    """A request that is answered with the contract's error body; `key` names the field at fault."""

    def __init__(self, status: int, tpe: str, description: str, key: str) -> None:
        super().__init__(description)
        self.status, self.tpe, self.description, self.key = status, tpe, description, key

    def response(self) -> web.Response:
        error = {"description": self.description, "key": self.key, "extras": None}
        return _json({"tpe": self.tpe, "errors": [error], "extras": None}, self.status)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def make_app() -> web.Application:
    """The server's application, with an empty ledger. The model is loaded here, not by the first request."""
    model.load()
    app = web.Application(client_max_size=LARGEST_BODY)
    app[LEDGER] = Ledger()
    app.router.add_post(PATH, completions)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/ledger", ledger)
    return app


async def models(_: web.Request) -> web.Response:
    return web.Response(body=MODELS, content_type="application/json")


async def ledger(request: web.Request) -> web.Response:
    return web.Response(body=request.app[LEDGER].as_json(), content_type="application/json")


async def completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/completions`. Generates on the event loop: an answer is milliseconds of work."""
    try:
        asked = await _accept(request)
    except RejectedError as rejected:
        return rejected.response()
    with request.app[LEDGER].request():
        choice = model.load().generate(asked)
        request.app[LEDGER].bill(asked.prompt)
        if asked.stream:
            return await _stream(request, choice)
        return _json(Completion(choices=[choice], model=model.NAME))


async def _accept(request: web.Request) -> CompletionRequest:
    """The request, checked. Raises RejectedError."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.casefold() != "bearer" or not key.strip():
        raise RejectedError(401, "Unauthorized", "a bearer key is required", "Authorization")
    if request.content_type != "application/json":
        raise RejectedError(415, "InvalidContentType", "the body must be application/json", "Content-Type")
    asked = decode(await request.read())
    check(asked)
    return asked


_request = msgspec.json.Decoder(CompletionRequest)


def decode(body: bytes) -> CompletionRequest:
    """Strictly, unknown fields refused. Raises RejectedError with 400."""
    try:
        return _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        field = _FIELD.search(str(e))
        key = (field[1] or field[2]) if field else "body"
        raise RejectedError(400, "InvalidInputParameters", str(e), key) from None


def check(asked: CompletionRequest) -> None:
    """Ranges. They are this server's own: the contract gives none. Raises RejectedError with 400."""
    within = {
        "max_tokens": (asked.max_tokens is None or asked.max_tokens >= 1, "at least 1"),
        "temperature": (asked.temperature is None or 0 <= asked.temperature <= HOTTEST, f"from 0 to {HOTTEST}"),
        "top_p": (asked.top_p is None or 0 < asked.top_p <= 1, "above 0, at most 1"),
        "best_of": (asked.best_of is None or 1 <= asked.best_of <= MOST_CANDIDATES, f"from 1 to {MOST_CANDIDATES}"),
    }
    for field, (right, wanted) in within.items():
        if not right:
            raise RejectedError(400, "InvalidInputParameters", f"{field} must be {wanted}", field)


async def _stream(request: web.Request, choice: Choice) -> web.StreamResponse:
    """One event a token, and the end of the body as the only end marker: the contract documents no other."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    for value in _values(choice):
        await response.write(b"data: " + msgspec.json.encode(stream.Event(value)) + b"\n\n")
    await response.write_eof()
    return response


def _values(choice: Choice) -> list[str]:
    """The text by tokens. An empty text is one empty event: a stream without any says nothing at all."""
    tokens = choice.log_probs.content if choice.log_probs else None
    return [t.token for t in tokens or ()] or [""]


def run(host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, with an event loop of its own. Raises UsageError where the address is taken."""

    async def until_signal() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(host, port, stop, ready)

    try:
        loop.run(until_signal())
    except OSError as error:
        raise UsageError(f"{host}:{port}: cannot be served: {error.strerror}; give another --host or --port") from None


async def serve(host: str, port: int, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Serve until `stop` is set. `port` 0 is any free one; `ready` gets the URL once connections are accepted.

    Raises OSError where the address cannot be bound.
    """
    runner = web.AppRunner(make_app(), access_log=None, shutdown_timeout=_SHUTDOWN)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        ready(_url(host, runner.addresses[0][1]))
        await stop.wait()
    finally:
        await runner.cleanup()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
