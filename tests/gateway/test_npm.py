"""The `openai` client of npm, unmodified, against the endpoint (R-SALE-5).

It needs node and a folder in which npm has installed the client; `make npm` installs it and runs this.
"""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.gateways import Gateway

SCRIPT = Path(__file__).parent / "npm" / "client.cjs"


def folder() -> str:
    """Where the client is installed, or why this cannot run."""
    if shutil.which("node") is None:
        pytest.skip("there is no node on this machine")
    found = os.environ.get("NPM_CLIENT")
    if found is None or not Path(found, "node_modules", "openai").is_dir():
        pytest.skip("npm's openai is not installed here; `make npm` installs it, which needs a network")
    return found


async def test_npms_client_works_by_changing_the_base_url(gateway: Gateway) -> None:
    here = folder()
    poor = await gateway.open(5, "poor")
    arguments = [str(SCRIPT), here, f"{gateway.url}/v1", gateway.key, poor]
    running = await asyncio.create_subprocess_exec(
        "node", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await running.communicate()
    assert running.returncode == 0, err.decode()
    found = json.loads(out)
    assert found.pop("version")
    assert found == {
        "chat": ["w0 w1 w2 ", 3],
        "charged": "4",
        "stream": "w0 w1 w2 w3 ",
        "receipt": 5,
        "tools": "w0 w1 ",
        "responses": "w0 w1 ",
        "events": "w0 w1 ",
        "completion": "w0 w1 ",
        "embeddings": 2,
        "models": ["big", "fixed", "spare", "lost", "echo"],
        "once": [True, "true"],
        "poor": ["APIError", 402, "insufficient_quota", "small"],
        "stranger": ["AuthenticationError", 401, "invalid_api_key", None],
        "unknown": ["NotFoundError", 404, "model_not_found", None],
    }
