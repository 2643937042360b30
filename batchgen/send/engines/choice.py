"""Chooses the engine that makes the attempts."""

from __future__ import annotations

import sys

from batchgen.errors import UsageError
from batchgen.send.engines import local


def engine_of(name: str, address: str | None = None) -> local.EngineFactory:
    """Returns the factory of an engine. "local": this process. "ray": actors of a Ray cluster, at its address or one
    that is started. Raises UsageError if there is no such engine."""
    if name == "ray":
        for hidden in [module for module, found in sys.modules.items() if found is None]:
            del sys.modules[hidden]  # by the command (`__main__`): Ray and its workers' values may want it
        from batchgen.send.engines import ray  # noqa: PLC0415  it imports Ray

        return ray.engine(address)
    if name != "local":
        raise UsageError(f"no such engine: {name}: there are local and ray")
    if address is not None:
        raise UsageError("--address is a Ray cluster's: it goes with --engine ray")
    return local.engine
