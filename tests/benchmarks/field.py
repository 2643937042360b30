"""What people would pick instead, against the same server: `python field.py TOOL URL ROWS CONCURRENCY`.

For any interpreter that has the tools; it need not have batchgen. Prints, as JSON, the tool's version and the
seconds it was at work, without its imports; null where it is not installed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from time import monotonic

PROMPTS = 400
NEVER = 10**9


def lm_deluge(url: str, prompts: list[str], concurrency: int) -> Callable[[], Awaitable[object]]:
    from lm_deluge import LLMClient  # noqa: PLC0415  may not be installed
    from lm_deluge.models import register_model  # noqa: PLC0415

    os.environ["FIELD_KEY"] = "any"
    register_model(id="constant", name="constant", api_base=f"{url}/v1", api_key_env_var="FIELD_KEY")
    client = LLMClient(
        "constant",
        max_requests_per_minute=NEVER,
        max_tokens_per_minute=NEVER,
        max_concurrent_requests=concurrency,
        max_new_tokens=100,
    )
    return lambda: client.process_prompts_async(prompts, show_progress=False)


def writer_sdk(url: str, prompts: list[str], concurrency: int) -> Callable[[], Awaitable[object]]:
    from writerai import AsyncWriter  # noqa: PLC0415  may not be installed

    client = AsyncWriter(api_key="any", base_url=url)
    left = iter(prompts)

    async def work() -> None:
        for prompt in left:
            await client.completions.create(model="palmyra-x5", prompt=prompt, max_tokens=100)

    async def all_of_them() -> None:
        await asyncio.gather(*(work() for _ in range(concurrency)))

    return all_of_them


TOOLS = {"lm-deluge": lm_deluge, "writer-sdk": writer_sdk}


async def measure(tool: str, url: str, rows: int, concurrency: int) -> dict[str, object] | None:
    prompts = [f"{n:08d} {'word ' * 80}"[:PROMPTS] for n in range(rows)]
    try:
        found = version(tool)
        work = TOOLS[tool](url, prompts, concurrency)
    except (PackageNotFoundError, ImportError):
        return None
    started = monotonic()
    await work()
    return {"version": found, "seconds": monotonic() - started}


if __name__ == "__main__":
    tool, url, rows, concurrency = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(tool, url, int(rows), int(concurrency)))))
