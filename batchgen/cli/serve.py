"""The command `serve`: the built-in model as a server, with its faults as options."""

from __future__ import annotations

from typing import Any

import click

from batchgen.cli.streams import say

COUNT = click.IntRange(min=1)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option(
    "--latency",
    default="0",
    metavar="SECONDS",
    help="Seconds to an answer's first byte: a constant, or P50,P99 for a log-normal distribution.",
)
@click.option(
    "--requests-per-minute", type=COUNT, metavar="N", help="Refuse further requests with 429 and Retry-After."
)
@click.option(
    "--tokens-per-minute",
    type=COUNT,
    metavar="N",
    help="As above, for tokens of prompt and answer: four bytes each; chats by their usage.",
)
@click.option("--burst", default=4, show_default=True, type=COUNT, metavar="N", help="Requests that may come at once.")
@click.option("--concurrency", type=COUNT, metavar="N", help="Refuse more than so many in flight with 429.")
@click.option("--slots", type=COUNT, metavar="N", help="Make so many answers at a time; further requests wait.")
@click.option(
    "--batching",
    metavar="N,TOKENS",
    help="Each answer comes at so many tokens a second, up to N in flight; more of them share what N get.",
)
@click.option(
    "--capacity",
    metavar="FROM:N,...",
    help="How many --slots, or the N of --batching, from so many seconds since the first request, such as 0:8,60:4.",
)
@click.option(
    "--fault",
    multiple=True,
    metavar="KIND=SHARE",
    help="Spoil this share of the requests. KIND is a status from 400 to 599 (400, 413 and 422 strike a prompt each "
    "time it is asked), refusal (the model's, likewise), or, with the answer billed: reset, hang, cut, drip (50 bytes "
    "a second), garbage. Repeatable.",
)
@click.option(
    "--outage",
    multiple=True,
    metavar="FROM:TO",
    help="Drop all requests in this time, in seconds since the first one; nothing is billed. Repeatable.",
)
@click.option(
    "--seed", default=0, show_default=True, metavar="N", help="Random seed: the same one repeats the same faults."
)
def serve(host: str, port: int, **options: Any) -> None:
    """Serve the built-in model by the service's own API, until Ctrl-C.

    It speaks /v1/completions, /v1/chat, and OpenAI's /v1/chat/completions.

    \b
    Point a job at it:
      WRITER_BASE_URL=http://127.0.0.1:8080 WRITER_API_KEY=any batchgen run JOB

    With the options below, it is a server to rehearse a night on. GET /ledger says what was asked, billed, refused
    and spoiled. What a prompt meets depends on the seed, the prompt and how often it was asked, and on nothing
    else: a night can be repeated.

    \b
    The documented limits, and answers that take their time:
      batchgen serve --requests-per-minute 400 --tokens-per-minute 25000 \\
        --latency 0.8,6
    A bad night: overload, lost answers, refused prompts, a minute of silence:
      batchgen serve --fault 503=0.02 --fault reset=0.01 --fault 400=0.005 \\
        --outage 60:120
    """
    from batchgen.simulator import server
    from batchgen.simulator.options import read

    def ready(url: str) -> None:
        say(f"serving local-ngram at {url}/v1/completions; Ctrl-C ends it")

    server.run(host, port, ready, read(**options))
