"""A Stripe and a PayPal of one's own, run as a developer runs them: a process of its own (R-PLAT-1, proof)."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.cli.test_serve import served
from tests.support.paypal import held


@contextmanager
def lab(folder: Path, *words: str) -> Iterator[Any]:
    """A running lab and what it printed for programs; it ends quietly."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from tokentill.cli import main; main()", "lab", *words, "--json"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("TOKENTILL_")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def test_a_till_is_paid_through_a_stripe_of_ones_own(tmp_path: Path) -> None:  # R-PLAT-1, R-PACK-2
    with lab(tmp_path, "stripe", "--webhooks-to", "http://127.0.0.1:9/nothing") as said:
        assert set(said["environment"]) == {
            "TOKENTILL_STRIPE_API_BASE", "TOKENTILL_STRIPE_KEY", "TOKENTILL_STRIPE_WEBHOOK_SECRET",
        }  # fmt: skip
        with urlopen(
            Request(
                f"{said['url']}/v1/products",
                b"name=x",
                {"Authorization": f"Bearer {said['environment']['TOKENTILL_STRIPE_KEY']}"},
            )
        ) as answer:
            assert json.load(answer)["object"] == "product"


async def test_a_till_is_paid_through_a_paypal_of_ones_own(tmp_path: Path) -> None:  # R-PLAT-1, R-PACK-2
    with lab(tmp_path, "paypal", "--env-file", "paypal.env") as said:
        lines = dict(line.split("=", 1) for line in (tmp_path / "paypal.env").read_text().splitlines())
        assert lines == said["environment"]
        async with held(said["url"]) as (base, checked):
            await asyncio.to_thread(_bought, tmp_path, {**lines, "TOKENTILL_PAYPAL_API_BASE": base})
        assert checked.misfits == []
        assert checked.seen >= 2, "the order and its capture"


def _bought(folder: Path, lines: dict[str, str]) -> None:
    """A pack ordered, approved by the customer, and usable when they are back."""
    with served(folder, **lines) as (process, url, _):

        def till(*words: str) -> Any:
            done = subprocess.run(
                [sys.executable, "-c", "from tokentill.cli import main; main()", *words, "--json"],
                cwd=folder,
                env={**os.environ, "TOKENTILL_DATABASE": "till.db", "TOKENTILL_PUBLIC_URL": url, **lines},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                timeout=60,
            )
            return json.loads(done.stdout)

        till("org", "open", "acme", "--plan", "pro")
        order = till("buy", "acme", "token_pack_500", "--provider", "paypal")
        with urlopen(order["url"]) as page:  # the customer approves, and comes back to the till
            assert "is in your account" in page.read().decode()
        assert till("balance", "acme")["remaining"] == 700
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with lab(tmp_path, "stripe") as said:
        port = said["url"].rpartition(":")[2]
        done = subprocess.run(
            [sys.executable, "-c", "from tokentill.cli import main; main()", "lab", "stripe", "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, "Choose another port" in done.stderr) == (5, True)
