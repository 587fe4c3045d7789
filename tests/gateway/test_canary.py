"""Prompts, answers and keys stand in no log, no error, no metric and nowhere in the database in plain text."""

import logging
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.support.gateways import LAB_KEY, running_gateway

# R-SALE-5, R-SALE-8

PROMPT = "canary-prompt-7f3a answer=3"
SECRETS = ("canary-prompt-7f3a", "w0 w1", LAB_KEY)


async def test_nothing_of_a_call_is_kept_or_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[Any] = []
    structlog.configure(processors=[_teller(told)], cache_logger_on_first_use=False)
    try:
        async with running_gateway(tmp_path, str(tmp_path / "till.db")) as gateway:
            replies = []
            for stream in (False, True):
                for script in ("", " usage=none", " usage=huge", " do=cut", " do=garbage", " do=error:401"):
                    named: dict[str, Any] = {"headers": {"idempotency_key": f"k{stream}{script}"}}
                    replies.append(await gateway.chat(PROMPT + script, stream=stream, **named))
            replies.append(await gateway.chat(PROMPT, model="canary-prompt-7f3a"[:6]))
            replies.append(await gateway.chat(PROMPT, key=gateway.key[:-1]))
            async with gateway.client.get(f"{gateway.url}/metrics") as answer:
                metrics = await answer.text()
            metrics += gateway.app.site.telemetry.text().decode()
            errors = b"".join(reply.raw for reply in replies if reply.status != 200).decode()
            key = gateway.key
        assert len([reply for reply in replies if reply.status == 200]) >= 6
        database = _all_of(tmp_path)
        secret = key.split("_", 3)[3]
        for one in (*SECRETS, secret):
            assert one not in caplog.text
            assert one not in repr(told)
            assert one not in metrics
            assert one not in errors
            assert one.encode() not in database
    finally:
        structlog.reset_defaults()
    assert 'tokentill_model_calls_total{model="big",outcome="reported"}' in metrics


def _teller(told: list[Any]) -> Any:
    def tell(_logger: Any, _method: str, event: Any) -> Any:
        told.append(dict(event))
        raise structlog.DropEvent

    return tell


def _all_of(folder: Path) -> bytes:
    """Everything in the folder but the catalog."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "gateway.toml")
    return b"".join(path.read_bytes() for path in files)
