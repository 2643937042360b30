"""What aiohttp itself costs: `python bare.py URL ROWS CONCURRENCY PARSER PROMPT`.

Fixed workers, the session's own time-outs, every answer read and parsed: by msgspec into the contract's types, which is
the fastest, or by the standard library; nothing is limited, repeated, kept or written. PROMPT is a file: the text that
every request sends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import msgspec
import uvloop
from aiohttp.client import ClientSession

from batchgen.api.types import PATH, Completion

HEADERS = {
    "Authorization": "Bearer any",
    "Content-Type": "application/json",
    "Accept-Encoding": "identity",
}


PARSERS = {"msgspec": msgspec.json.Decoder(Completion).decode, "json": json.loads}


async def main(url: str, rows: int, concurrency: int, parser: str, prompt: str) -> None:
    left = iter(range(rows))
    body = msgspec.json.encode({"model": "palmyra-x5", "prompt": prompt, "max_tokens": 100})
    parse = PARSERS[parser]

    async def work(session: ClientSession) -> None:
        for _ in left:
            async with session.post(url, data=body, allow_redirects=False) as response:
                parse(await response.read())

    async with (
        ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=HEADERS,
        ) as session,
        asyncio.TaskGroup() as workers,
    ):
        for _ in range(concurrency):
            workers.create_task(work(session))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        url, rows, concurrency, parser, prompt = sys.argv[1:]
        runner.run(main(url + PATH, int(rows), int(concurrency), parser, Path(prompt).read_text(encoding="utf-8")))
