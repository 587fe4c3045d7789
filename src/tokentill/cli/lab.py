"""Commands that run a Stripe or a PayPal of your own on this machine, to develop and try a shop without an account.

They run until they are stopped. Nothing that is paid there is real, and everything is forgotten at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tokentill import wiring
from tokentill.cli import show
from tokentill.cli.frame import UNUSABLE, Work, command

Port = Annotated[
    int, typer.Option(help="The port, on this machine alone; 0 for a free one.", min=0, max=65_535)
]
Target = Annotated[
    str | None,
    typer.Option("--webhooks-to", help="Send webhooks to this address, signed.", show_default=False),
]
EnvFile = Annotated[
    Path | None,
    typer.Option(
        help="Write the settings of a till that is paid there to this file, a line each.",
        dir_okay=False,
        show_default=False,
    ),
]


def add(app: typer.Typer) -> None:
    """The commands below `lab`."""
    command(app, "stripe", ())(stripe)
    command(app, "paypal", ())(paypal)


async def stripe(
    work: Work, port: Port = 0, webhooks_to: Target = None, env_file: EnvFile = None
) -> int | None:
    """Run a Stripe of your own: its API, pages with test cards, and signed webhooks."""
    return await _run(work, _stripe(port, webhooks_to), "Stripe", env_file)


async def paypal(
    work: Work, port: Port = 0, webhooks_to: Target = None, env_file: EnvFile = None
) -> int | None:
    """Run a PayPal of your own: its API, an address that approves as a customer would, and signed webhooks.

    Its webhooks are signed by a certificate of its own, which a till refuses as it must: a till asks here how a
    payment stands.
    """
    return await _run(work, _paypal(port, webhooks_to), "PayPal", env_file)


@asynccontextmanager
async def _stripe(port: int, target: str | None) -> AsyncIterator[tuple[str, dict[str, str]]]:
    from tokentill.lab.stripe import StripeLab, serving

    lab = StripeLab(wiring.SystemClock())
    secret = None if target is None else str(lab.listen(target)["secret"])
    async with serving(lab, port=port, deliver=target is not None) as base:
        lab.world.public = base
        found = {"TOKENTILL_STRIPE_API_BASE": base, "TOKENTILL_STRIPE_KEY": lab.key}
        if secret is not None:
            found["TOKENTILL_STRIPE_WEBHOOK_SECRET"] = secret
        yield base, found


@asynccontextmanager
async def _paypal(port: int, target: str | None) -> AsyncIterator[tuple[str, dict[str, str]]]:
    from tokentill.lab.paypal.authority import Authority
    from tokentill.lab.paypal.server import Lab, keep_delivering, serving

    now = wiring.SystemClock().now
    lab = Lab(now, Authority(now()))
    async with serving(lab, port=port) as base:
        sending = None if target is None else asyncio.ensure_future(keep_delivering(lab, target))
        try:
            yield (
                base,
                {
                    "TOKENTILL_PAYPAL_API_BASE": base,
                    "TOKENTILL_PAYPAL_CLIENT_ID": lab.client_id,
                    "TOKENTILL_PAYPAL_SECRET": lab.secret,
                    "TOKENTILL_PAYPAL_WEBHOOK_ID": lab.webhook_id,
                },
            )
        finally:
            if sending is not None:
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sending


async def _run(work: Work, lab: Any, name: str, env_file: Path | None) -> int | None:
    """Say where it is, and let it run until it is stopped."""
    try:
        async with lab as (base, environment):
            _say(work, name, base, environment, env_file)
            await _stopped()
    except OSError as error:
        show.trouble(
            "It cannot run here.", str(error.strerror or error), "Choose another port, or another file."
        )
        return UNUSABLE
    return None


def _say(work: Work, name: str, base: str, environment: Mapping[str, str], env_file: Path | None) -> None:
    """Write the settings down where that was asked for, and say where it is."""
    if env_file is not None:
        env_file.write_text("".join(f"{key}={value}\n" for key, value in environment.items()))
    said = {"url": base, "environment": environment}
    text = json.dumps(said) if work.json else _said(name, base, environment)
    print(text, flush=True)


def _said(name: str, base: str, environment: Mapping[str, str]) -> str:
    lines = [
        f"A {name} of your own answers at {base}; nothing paid there is real. A till is paid there with:"
    ]
    lines += [f"  {key}={value}" for key, value in environment.items()]
    return "\n".join(lines)


async def _stopped() -> None:
    """Until Ctrl+C or SIGTERM."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    set_it: Callable[[], None] = stop.set
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, set_it)
    try:
        await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
