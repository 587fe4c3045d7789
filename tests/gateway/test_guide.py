"""The guide to the first call works as it stands, in both APIs: its curl and its Python are run (R-SALE-4)."""

import asyncio
import contextlib
import io
import json

import pytest

from tests.support.gateways import Gateway
from tokentill.rules.delivery import Api, Delivered, examples, guide

# R-SALE-1, R-SALE-5


async def run_curl(code: str) -> str:
    """What the command prints, in a shell as a customer has it."""
    running = await asyncio.create_subprocess_exec("sh", "-c", code, stdout=asyncio.subprocess.PIPE)
    printed, _ = await running.communicate()
    assert running.returncode == 0
    return printed.decode()


async def run_python(code: str) -> str:
    """What the program prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        await asyncio.to_thread(exec, code, {})
    return printed.getvalue()


@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_the_guide_works_as_it_stands(gateway: Gateway, api: Api) -> None:
    its = Delivered(
        purchase="p", title="Pack", tokens=1, endpoint=f"{gateway.url}/v1", key=gateway.key, model="big", api=api,
        dashboard="", refunds="",
    )  # fmt: skip
    (_, curl), (label, python) = examples(its)
    said = json.loads(await run_curl(curl))
    told = said["choices"][0]["message"]["content"] if api == "openai" else said["content"][0]["text"]
    assert told.startswith("w0 w1 ")
    assert (await run_python(python)).strip() == told.strip()
    assert f"pip install {api}" in label
    assert gateway.lab.asked[0]["model"] == ("big-there" if api == "openai" else "claude-there")
    for code in (curl, python):
        assert code in guide(its)
