#!/bin/sh
# `--limit-concurrency` of uvicorn 0.38.0, beside requests that are at work for a while.
#
# Guess: with N, N requests are served at once, and the next one is refused.
# Seen:  N - 1 are served, and refused is whoever would be the Nth: connections are counted with the request that comes.
#        The refusal is a 503 in plain text, without `Retry-After`, and the connection is closed.
# So:    give it one more than the model serves; and a 503 of it is a limit, and no failure of the server.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'uvicorn==0.38.0' 'h11==0.16.0'
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio

import uvicorn

MOST, ASKED = 5, 9


async def app(scope, receive, send):
    await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def ask(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    writer.close()
    return int(head.split()[1]), "retry-after" in head, "connection: close" in head


async def main():
    config = uvicorn.Config(app, port=0, limit_concurrency=MOST, lifespan="off", log_level="critical", http="h11")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    answers = []
    for _ in range(ASKED):
        answers.append(asyncio.create_task(ask(port)))
        await asyncio.sleep(0.02)
    told = await asyncio.gather(*answers)
    server.should_exit = True
    await serving
    return told


told = asyncio.run(main())
served = sum(status == 200 for status, _, _ in told)
print("uvicorn", uvicorn.__version__, f"--limit-concurrency {MOST}: of {ASKED} at once {served} are served")
refused = [one for one in told if one[0] == 503]
print("the others:", sorted(set(refused)), "(status, has Retry-After, is closed)")
assert served == MOST - 1, "another number is served now"
assert set(refused) == {(503, False, True)}, "it refuses in another way now"
PYTHON
