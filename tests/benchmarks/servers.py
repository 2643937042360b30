"""Servers on a core of their own, for the length of a block: nginx for what is constant, else our own `serve.py`."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep

import answers
from machine import ENVIRONMENT, HERE, core

NGINX = shutil.which("nginx", path=f"{ENVIRONMENT.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
CHARACTERS = 400
MAX_PARAMETER = 2000
"""Of nginx's configuration, before its backslashes are doubled: it reads no longer ones than 4,096 bytes."""
PATIENCE = 10.0

_CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600; client_body_buffer_size 64k;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  default_type application/json;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    {settings}
    location / {{ return 200 {answer}; }}
    location /v1/chat/ {{ return 200 '{chat}'; }}
  }}
}}
"""


class Served:
    """A server that is up. `arrived` and `answered` are there once the block is left, in seconds."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.arrived: list[float] = []
        self.answered: list[float] = []


@contextmanager
def constant(body: bytes) -> Iterator[str]:
    """The URL of a server that answers every request with `body`, and chats with a text of its own."""
    if NGINX is None:
        with own(body) as served:
            yield served.url
        return
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(_configuration(folder, port, body.decode()))
        with core(0):
            process = subprocess.Popen([NGINX, "-e", "stderr", "-c", configuration], env=ENVIRONMENT)
        try:
            wait_for(("127.0.0.1", port))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


@contextmanager
def own(answer: bytes | int, seconds: float = 0.0) -> Iterator[Served]:
    """Our own server. An answer that is a number: of tokens with log-probs, which are others each time."""
    with tempfile.TemporaryDirectory() as folder:
        plain, chat = Path(folder) / "answer", Path(folder) / "chat"
        plain.write_bytes(answer if isinstance(answer, bytes) else b"")
        chat.write_bytes(answers.chat(CHARACTERS))
        given = plain if isinstance(answer, bytes) else str(answer)
        pipe = subprocess.PIPE
        with core(0):
            command = [sys.executable, HERE / "serve.py", given, chat, str(seconds)]
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=ENVIRONMENT)
        served = Served(process.stdout.readline().strip())
        try:
            yield served
        finally:
            record, _ = process.communicate()
        served.arrived, served.answered = json.loads(record).values()


def _configuration(folder: str, port: int, body: str) -> str:
    """A body that is longer than a parameter may be is put together of several."""
    pieces = [body[at : at + MAX_PARAMETER] for at in range(0, len(body), MAX_PARAMETER)]
    return _CONFIGURATION.format(
        folder=folder,
        port=port,
        settings=" ".join(f"set $piece{n} '{escaped(piece)}';" for n, piece in enumerate(pieces)),
        answer="".join(f"$piece{n}" for n in range(len(pieces))),
        chat=answers.chat(CHARACTERS).decode(),
    )


def escaped(text: str) -> str:
    """As nginx's configuration writes it, within single quotes."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for(address: tuple[str, int]) -> None:
    for _ in range(int(PATIENCE / 0.02)):
        with suppress(OSError), socket.create_connection(address):
            return
        sleep(0.02)
    sys.exit(f"{address[1]}: no server started; its own message may stand above")
