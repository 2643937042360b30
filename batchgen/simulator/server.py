"""Serves the service's endpoints on a socket, answered by the built-in model.

It implements the contracts as documented, and keeps a ledger of what it would have billed. It must never pretend to be
the service, forward anything to it, or keep a prompt (the ledger holds digests).
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
from batchgen.errors import UsageError
from batchgen.simulator import MODEL, answers, model, responses
from batchgen.simulator.answers import RejectedError
from batchgen.simulator.chat import OPENAI_PATH
from batchgen.simulator.exchange import ENDPOINTS, Exchange
from batchgen.simulator.faults import REFUSAL, FaultSource, Outages
from batchgen.simulator.ledger import Ledger, digest
from batchgen.simulator.limits import Admission
from batchgen.simulator.options import ServerOptions
from batchgen.simulator.shapes import Shape

LEDGER_PATH = "/ledger"
MAX_BODY = 64 * 2**20
MODELS = msgspec.json.encode({"models": [{"id": MODEL, "name": "Built-in n-gram model"}]})
_BACKLOG = 4096
"""Connections that may wait to be accepted: a client may open all of its own at once."""
_SHUTDOWN = 2.0
"""Seconds for answers in flight when the server stops."""

LEDGER = web.AppKey("ledger", Ledger)
ADMISSION = web.AppKey("admission", Admission)
SHAPE: web.AppKey[Shape] = web.AppKey("shape", Shape)
FAULTS = web.AppKey("faults", FaultSource)


def make_app(options: ServerOptions | None = None) -> web.Application:
    """Returns the server's application, with an empty ledger. Loads the model now, not at the first request."""
    model.load()
    options = options or ServerOptions()
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_refusals_in_contract])
    app[LEDGER], app[ADMISSION], app[FAULTS] = Ledger(), options.admission(), options.fault_source()
    app[SHAPE] = options.shape()
    if options.outages:
        app.middlewares.append(_outage_middleware(Outages(options.outages)))
    for path, read in ENDPOINTS.items():
        app.router.add_post(path, _answering(read))
    app.router.add_get("/v1/models", models)
    app.router.add_get(LEDGER_PATH, ledger)
    if app[SHAPE].load() is not None:
        app.router.add_get("/metrics", metrics)
    return app


@web.middleware
async def _refusals_in_contract(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every refusal into the contract's error body."""
    is_openai = request.path == OPENAI_PATH
    try:
        return await handler(request)
    except ConnectionResetError:
        return web.Response()  # the client has gone
    except RejectedError as rejected:
        return responses.refusal(rejected, is_openai=is_openai)
    except web.HTTPException as error:  # aiohttp's own: no such path, no such method, a body too large
        in_contract = RejectedError(error.status, answers.tpe(error.status), error.reason)
        response = responses.refusal(in_contract, is_openai=is_openai)
        response.headers.update({name: error.headers[name] for name in ("Allow",) if name in error.headers})
        return response


def _outage_middleware(outages: Outages) -> Middleware:
    @web.middleware
    async def lose(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Resets the connection during an outage, unread. The ledger stays reachable: it is not the service's."""
        if request.path == LEDGER_PATH or not outages.is_active(_now()):
            return await handler(request)
        request.app[LEDGER].faults["outage"] += 1
        return await responses.reset(request)

    return lose


def _now() -> float:
    return asyncio.get_running_loop().time()


async def models(_: web.Request) -> web.Response:
    return web.Response(body=MODELS, content_type="application/json")


async def metrics(request: web.Request) -> web.Response:
    """Says how many requests are at work, and how many wait, as vLLM does."""
    at_work, waiting = request.app[SHAPE].load() or (0, 0)
    return web.Response(text=f"vllm:num_requests_running {at_work}\nvllm:num_requests_waiting {waiting}\n")


async def ledger(request: web.Request) -> web.Response:
    return web.Response(body=request.app[LEDGER].as_json(), content_type="application/json")


def _answering(read: Callable[[bytes], Exchange]) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        """Answers a request. Generates on the event loop: an answer takes milliseconds."""
        exchange = await _accept(request, read)
        _admit(request.app, exchange)
        with request.app[LEDGER].request():
            return await _answer(request, exchange)

    return answer


async def _accept(request: web.Request, read: Callable[[bytes], Exchange]) -> Exchange:
    """Reads and checks a request. Raises RejectedError."""
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
    """Raises RejectedError if a limit refuses the request."""
    ledger = app[LEDGER]
    refusal = app[ADMISSION].admit(_now(), exchange.prompt_tokens, ledger.in_flight)
    if refusal is not None:
        ledger.refuse()
        raise RejectedError(429, answers.TPES[429], refusal.reason, retry_after=refusal.retry_after)


async def _answer(request: web.Request, exchange: Exchange) -> web.StreamResponse:
    """Answers a request, or does what its draw says. The answer is billed before the wait: a client that disconnects
    still pays."""
    ledger, name = request.app[LEDGER], digest(exchange.text)
    draw = request.app[FAULTS].draw(name)
    if draw.fault is not None:
        ledger.faults[draw.fault] += 1
    if draw.status is not None:
        raise answers.on_demand(draw.status)
    answer, tokens = exchange.refuse() if draw.fault == REFUSAL else exchange.answer()
    ledger.billed[name] += 1
    request.app[ADMISSION].charge(_now(), tokens)
    await request.app[SHAPE].work(draw.latency, tokens)
    return await responses.SPOILS.get(draw.fault, responses.send)(request, answer)


def run(host: str, port: int, ready: Callable[[str], None], options: ServerOptions) -> None:
    """Serves until SIGINT or SIGTERM, in an event loop of its own. Raises UsageError if the address is taken."""

    async def until_signal() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(host, port, stop, ready, options)

    try:
        event_loop.run(until_signal())
    except OSError as error:
        raise UsageError(f"{host}:{port}: cannot be served: {error.strerror}; give another --host or --port") from None


async def serve(
    host: str, port: int, stop: asyncio.Event, ready: Callable[[str], None], options: ServerOptions
) -> None:
    """Serves until `stop` is set. `port`: 0 for any free one. `ready` gets the URL once connections are accepted.

    Raises OSError if the address cannot be bound.
    """
    app = make_app(options)
    runner = web.AppRunner(app, access_log=None, logger=_log(), shutdown_timeout=_SHUTDOWN, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        ready(_url(host, runner.addresses[0][1]))
        await stop.wait()
    finally:
        await runner.cleanup()


def _log() -> logging.Logger:
    """Returns the log of the server's own errors. Clients that send no valid HTTP are refused, and not logged."""

    def ours(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        # By name: aiohttp does not promise where the class lies.
        is_no_http = "BadHttpMessage" in {kind.__name__ for kind in type(error).__mro__}
        return not (is_no_http or isinstance(error, web.RequestPayloadError))

    log = logging.getLogger("batchgen.simulator")
    log.addFilter(ours)
    return log


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
