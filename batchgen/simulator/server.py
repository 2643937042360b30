"""The built-in server: the service's endpoints on a socket, with the built-in model behind them.

It speaks the contracts as documented and keeps a ledger of what it would have billed. It must never pass
for the service, forward anything to it, or keep a prompt (the ledger holds digests).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from batchgen import event_loop
from batchgen.api.types import PATH
from batchgen.errors import UsageError
from batchgen.simulator import model, responses
from batchgen.simulator.chat import OPENAI_PATH, OpenAIsChat, WritersChat
from batchgen.simulator.chat import PATH as CHAT_PATH
from batchgen.simulator.exchange import Completion, Exchange
from batchgen.simulator.faults import REFUSAL, FaultSource, Outages
from batchgen.simulator.ledger import Ledger, digest
from batchgen.simulator.limits import Admission
from batchgen.simulator.options import ServerOptions
from batchgen.simulator.responses import RejectedError
from batchgen.simulator.shapes import Shape

LEDGER_PATH = "/ledger"
LARGEST_BODY = 64 * 2**20
MODELS = msgspec.json.encode({"models": [{"id": model.NAME, "name": "Built-in n-gram model"}]})
_BACKLOG = 4096
"""Connections waiting to be accepted: a client may open all of its own at once."""
_SHUTDOWN = 2.0
"""Seconds that answers under way get to be sent when the server stops."""
ENDPOINTS: dict[str, Callable[[bytes], Exchange]] = {
    PATH: Completion,
    CHAT_PATH: WritersChat,
    OPENAI_PATH: OpenAIsChat,
}
"""What reads the requests of each path."""

LEDGER = web.AppKey("ledger", Ledger)
GATE = web.AppKey("gate", Admission)
SHAPE: web.AppKey[Shape] = web.AppKey("shape", Shape)
FATES = web.AppKey("fates", FaultSource)


def make_app(rig: ServerOptions | None = None) -> web.Application:
    """The server's application, with an empty ledger. The model is loaded here, not by the first request."""
    model.load()
    rig = rig or ServerOptions()
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_told])
    app[LEDGER], app[GATE], app[FATES] = Ledger(), rig.gate(), rig.fates()
    app[SHAPE] = rig.shape()
    if rig.outages:
        app.middlewares.append(_losing(Outages(rig.outages)))
    for path, read in ENDPOINTS.items():
        app.router.add_post(path, _answering(read))
    app.router.add_get("/v1/models", models)
    app.router.add_get(LEDGER_PATH, ledger)
    return app


@web.middleware
async def _told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever is refused is refused in the contract's words."""
    is_openai = request.path == OPENAI_PATH
    try:
        return await handler(request)
    except ConnectionResetError:
        return web.Response()  # the client has gone, and there is nobody to tell
    except RejectedError as rejected:
        return rejected.response(is_openai=is_openai)
    except web.HTTPException as error:  # aiohttp's own: no such path, no such method, a body too large
        response = RejectedError(error.status, responses.tpe(error.status), error.reason).response(is_openai=is_openai)
        response.headers.update({name: error.headers[name] for name in ("Allow",) if name in error.headers})
        return response


def _losing(outages: Outages) -> Middleware:
    @web.middleware
    async def lose(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Nothing of it is read. The ledger stays open: it is the rig's, not the service's."""
        if request.path == LEDGER_PATH or not outages.struck(_now()):
            return await handler(request)
        request.app[LEDGER].faults["outage"] += 1
        return await responses.reset(request)

    return lose


def _now() -> float:
    return asyncio.get_running_loop().time()


async def models(_: web.Request) -> web.Response:
    return web.Response(body=MODELS, content_type="application/json")


async def ledger(request: web.Request) -> web.Response:
    return web.Response(body=request.app[LEDGER].as_json(), content_type="application/json")


def _answering(read: Callable[[bytes], Exchange]) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        """Generates on the event loop: an answer is milliseconds of work."""
        exchange = await _accept(request, read)
        _admit(request.app, exchange)
        with request.app[LEDGER].request():
            return await _answer(request, exchange)

    return answer


async def _accept(request: web.Request, read: Callable[[bytes], Exchange]) -> Exchange:
    """The request, checked. Raises RejectedError."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if (scheme.casefold() != "bearer" or not key.strip()) and request.path != OPENAI_PATH:
        raise RejectedError(401, "Unauthorized", "a bearer key is required", "Authorization")
    if request.content_type != "application/json":
        raise RejectedError(415, "InvalidContentType", "the body must be application/json", "Content-Type")
    try:
        return read(await request.read())
    except web.RequestPayloadError:
        raise RejectedError(400, "BadRequest", "the body is not encoded as its headers say", "body") from None


def _admit(app: web.Application, exchange: Exchange) -> None:
    """Raises RejectedError where a limit of the rig refuses the request."""
    ledger = app[LEDGER]
    refusal = app[GATE].admit(_now(), exchange.prompt_tokens, ledger.in_flight)
    if refusal is not None:
        ledger.refuse()
        raise RejectedError(429, responses.TPES[429], refusal.reason, retry_after=refusal.retry_after)


async def _answer(request: web.Request, exchange: Exchange) -> web.StreamResponse:
    """What the request's fate is. An answer is bought before it is waited for: who goes meanwhile has asked, and
    pays."""
    ledger, name = request.app[LEDGER], digest(exchange.text)
    fate = request.app[FATES].draw(name)
    if fate.fault is not None:
        ledger.faults[fate.fault] += 1
    if fate.status is not None:
        raise responses.on_demand(fate.status)
    answer, tokens = exchange.refuse() if fate.fault == REFUSAL else exchange.answer()
    ledger.billed[name] += 1
    request.app[GATE].charge(_now(), tokens)
    await request.app[SHAPE].work(fate.latency, tokens)
    return await responses.SPOILS.get(fate.fault, responses.say)(request, answer)


def run(host: str, port: int, ready: Callable[[str], None], rig: ServerOptions) -> None:
    """Serve until SIGINT or SIGTERM, with an event loop of its own. Raises UsageError where the address is taken."""

    async def until_signal() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(host, port, stop, ready, rig)

    try:
        event_loop.run(until_signal())
    except OSError as error:
        raise UsageError(f"{host}:{port}: cannot be served: {error.strerror}; give another --host or --port") from None


async def serve(
    host: str, port: int, stop: asyncio.Event, ready: Callable[[str], None], rig: ServerOptions | None = None
) -> None:
    """Serve until `stop` is set. `port` 0 is any free one; `ready` gets the URL once connections are accepted.

    Raises OSError where the address cannot be bound.
    """
    app = make_app(rig)
    runner = web.AppRunner(app, access_log=None, logger=_log(), shutdown_timeout=_SHUTDOWN, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        ready(_url(host, runner.addresses[0][1]))
        await stop.wait()
    finally:
        await runner.cleanup()


def _log() -> logging.Logger:
    """For what goes wrong here. What clients send that is no HTTP is theirs, and was refused."""

    def ours(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        kinds = {
            kind.__name__ for kind in type(error).__mro__
        }  # by name: aiohttp does not promise where the class lies
        is_no_http = "BadHttpMessage" in kinds
        return not (is_no_http or isinstance(error, web.RequestPayloadError))

    log = logging.getLogger("batchgen.simulator")
    log.addFilter(ours)
    return log


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
