"""A process that has imported all of batchgen once, and forks a child for every order it reads on its standard input, so
that hundreds of kills cost no imports each. `durability.Driver` starts it.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import os
import pkgutil
import select
import signal
import sys
from pathlib import Path

import batchgen
from batchgen.__main__ import share_memory, spare_imports
from batchgen.errors import BatchgenError


def prepare() -> None:
    """Imports what a child would import, as its command does it: numpy stays hidden. Starts no thread of batchgen's."""
    share_memory()
    spare_imports()
    for module in pkgutil.walk_packages(batchgen.__path__, "batchgen."):
        if not module.name.startswith("batchgen.send.engines.ray"):  # an extra
            importlib.import_module(module.name)
    logging.getLogger("batchgen").addHandler(logging.NullHandler())


def child(order: dict, pipe: int) -> None:
    """The forked child's whole life."""
    commands = sys.modules["batchgen.commands"]
    if order.get("cpu") is not None:
        signal.setitimer(signal.ITIMER_PROF, order["cpu"])  # nobody handles it: it ends a process as SIGKILL does
    environment = {"WRITER_BASE_URL": order["url"], "WRITER_API_KEY": "any"}
    try:
        if order["what"] == "run":
            summary = commands.run(order["job"], quiet=True, environ=environment)
            said = {"summary": dataclasses.asdict(summary), "exit_code": summary.exit_code}
        else:
            commands.export(order["job"], order["target"], environ=environment)
            said = {"exit_code": 0}
    except BatchgenError as error:
        said = {"error": str(error), "exit_code": error.exit_code}
        if "refused" in order:
            with Path(order["refused"]).open("a") as file:
                file.write("refused\n")
    except BaseException as error:  # noqa: BLE001  it is told, and fails the test
        said = {"crash": repr(error)}
    os.write(pipe, json.dumps(said).encode())


def fork(order: dict) -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            child(order, write)
        finally:
            os._exit(0)
    os.close(write)
    return pid, read


def collect(pid: int, read: int) -> dict:
    with open(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return {"killed": not said, **(json.loads(said) if said else {})}


def drive(order: dict) -> dict | list[dict]:
    if "starts" in order:
        return [collect(*started) for started in [fork(order) for _ in range(order["starts"])]]
    pid, read = fork(order)
    if "after" in order:
        select.select([read], [], [], order["after"])
        os.kill(pid, order["number"])
    return collect(pid, read)


def main() -> None:
    prepare()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(drive(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
