"""Wiring: the only place that draws time, ids and secrets, and the only place that builds things.

Everything else is handed what it needs. What a command does not need is not imported, so that a small
command stays quick.

Requirement ids: R-PLAT-5.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uuid_utils

from tokentill import catalogs, keyfile
from tokentill.flows.charge import AlreadyRan, Charge, Charging, Done, Hold, TimedOut
from tokentill.flows.check import Checks, Features, LayerAnswer, battery, features
from tokentill.flows.forget import forget_user
from tokentill.flows.keys import create_operator_key
from tokentill.flows.send import Books, Ending, LedgerBooks, Retry, insist
from tokentill.flows.ways import Ways
from tokentill.keyfile import key_file
from tokentill.ports import Clock, Ids, IntentState, JournalRow, Ledger, Page
from tokentill.rules import catalog_file
from tokentill.rules.catalog import Catalog
from tokentill.rules.catalog_reader import Finding
from tokentill.rules.explaining import Explanation
from tokentill.rules.feedback import MonthOfFeedback, Topic
from tokentill.rules.margins import MarginReport
from tokentill.settings import Settings, SettingsError
from tokentill.shopfit import Address, payments_of, posting_of, sync_stripe
from tokentill.store.intents import FileIntents, read_all
from tokentill.web import (
    care_bodies,
    handover_views,
    key_views,
    office_views,
    refund_views,
    shop_views,
    views,
)
from tokentill.web.views import CatalogView, JournalLine, JournalView, NewOperatorKey, OperationView, PackView

if TYPE_CHECKING:
    from tokentill.flows.shop import Shop
    from tokentill.gatefit import Gatefit
    from tokentill.web.app import Application
    from tokentill.web.trading import Trader

__all__ = [
    "Address", "AlreadyRan", "Books", "CatalogView", "Charge", "Charging", "Checks", "Done", "Ending",
    "Explanation", "Features", "Hold", "JournalLine", "JournalView", "LayerAnswer", "LedgerBooks",
    "MarginReport", "MonthOfFeedback", "NewOperatorKey", "OperationView", "PackView", "Retry", "Shop",
    "SystemClock", "SystemIds", "TimedOut", "Topic", "Trader", "Ways", "battery", "build", "care_bodies",
    "catalog_of", "catalog_view", "charging", "create_operator_key", "features", "forget_user",
    "handover_views", "insist", "intents_in", "journal_view", "key_file", "key_views", "log_to_stderr", "make_gatefit",
    "make_ledger",
    "name_of_ledger", "name_of_url", "office_views", "open_ledger", "operation_view", "read_catalog", "refund_views",
    "secret_of", "shop_views", "sync_stripe",
]  # fmt: skip
"""What is built here, and what the client knows of flows and views, which it may not reach itself."""

log = logging.getLogger(__name__)


class SystemClock:
    """The clock of this machine."""

    def now(self) -> int:
        """Epoch milliseconds."""
        return time.time_ns() // 1_000_000


class SystemIds:
    """Ids from this machine: version 7, so that they sort by time."""

    def operation(self) -> str:
        """A new operation id, 32 hex digits."""
        return uuid_utils.uuid7().hex

    def secret(self) -> str:
        """256 random bits as URL-safe text."""
        return secrets.token_urlsafe(32)


def secret_of(settings: Settings) -> bytes:
    """The 32 bytes that seal the journal, made at first start where the settings allow it. Raises `SettingsError`."""
    return keyfile.secret_of(settings, secrets.token_bytes)


def catalog_of(settings: Settings) -> Catalog:
    """The catalog that is sold; its warnings are logged. Raises `CatalogError` or `SettingsError`."""
    catalog, warnings = read_catalog(settings.catalog)
    level = logging.DEBUG if settings.catalog in catalogs.PRESETS else logging.WARNING
    for warning in warnings:
        log.log(level, "catalog: %s", warning.as_text())
    return catalog


def read_catalog(name: str) -> tuple[Catalog, tuple[Finding, ...]]:
    """The catalog `name`, a preset or a file, and the warnings about it."""
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"The catalog file {path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise SettingsError(
                f"The catalog file {path} cannot be read: line {line} is not text in UTF-8. Save it as UTF-8."
            ) from error
        return catalog_file.load(text, str(path))
    if name not in catalogs.PRESETS:
        known = ", ".join(catalogs.PRESETS)
        raise SettingsError(
            f"There is no catalog {name!r}. The ones that come with tokentill are {known}; "
            "your own is named by the path of its file, which ends in .toml."
        )
    return catalog_file.load(catalogs.preset_text(name), f"{name}.toml")


@asynccontextmanager
async def open_ledger(
    settings: Settings, *, clock: Clock | None = None, ids: Ids | None = None
) -> AsyncIterator[Ledger]:
    """The store of the settings' database, closed at the end."""
    ledger = await make_ledger(settings, clock=clock, ids=ids)
    try:
        yield ledger
    finally:
        await ledger.close()


async def make_ledger(settings: Settings, *, clock: Clock | None = None, ids: Ids | None = None) -> Ledger:
    """The store of the settings' database; whoever asks for it closes it."""
    catalog = catalog_of(settings)
    secret = secret_of(settings)
    clock = clock or SystemClock()
    ids = ids or SystemIds()
    if settings.postgres:
        from tokentill.store.postgres import PostgresLedger  # noqa: PLC0415 an SQLite user need not load it

        return await PostgresLedger.open(settings.database, catalog, secret, clock, ids)
    from tokentill.store.sqlite import SqliteLedger  # noqa: PLC0415 a PostgreSQL user need not load it

    return await SqliteLedger.open(settings.database, catalog, secret, clock, ids)


def build(
    settings: Settings, ledger: Ledger, shop: Shop | None = None, fit: Gatefit | None = None
) -> Application:
    """The HTTP application over an open ledger, its shop and its endpoint, to be served by `tokentill.web.serving`."""
    from tokentill.web.app import build_app  # noqa: PLC0415 whoever does not serve need not load it

    secret, opening = secret_of(settings), None if fit is None else fit.open
    return build_app(ledger, secret=secret, clock=SystemClock(), ids=SystemIds(), shop=shop, opening=opening)


def make_gatefit(
    settings: Settings,
    ledger: Ledger,
    address: Callable[[], str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Gatefit:
    """The endpoint for model calls over an open ledger. Whoever asks for it closes it, after its application."""
    from tokentill.gatefit import Gatefit  # noqa: PLC0415 whoever does not serve need not load it

    secret = secret_of(settings)
    clock, ids = SystemClock(), SystemIds()
    books = LedgerBooks(ledger, secret, Ways.over(ledger, clock, ids, secret).refusal)
    return Gatefit(
        ledger,
        charging(books, settings.spool_folder, name_of_ledger(secret), clock=clock, ids=ids),
        secret,
        clock,
        ids,
        secrets.token_bytes,
        environment,
        address=address or Address(settings),
        answers_hours=settings.answers_hours,
    )


def make_shop(
    settings: Settings,
    ledger: Ledger,
    address: Callable[[], str] | None = None,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Shop:
    """The shop over an open ledger; its clerk is not started. Whoever asks for it closes it.

    Raises `SettingsError` where a payment provider is set up by halves.
    """
    from tokentill.flows.means import Means  # noqa: PLC0415 whoever does not sell need not load it
    from tokentill.flows.shop import open_shop  # noqa: PLC0415 see above

    clock = clock or SystemClock()
    address = address or Address(settings)
    means = Means(
        ledger=ledger,
        rows=ledger.rows,
        payments=payments_of(settings, ledger, secret_of(settings), clock, address),
        clock=clock,
        ids=ids or SystemIds(),
        secret=secret_of(settings),
        address=address,
        prices={name: value for name, value in environment.items() if name.endswith("_PRICE_ID")},
    )
    return open_shop(
        means, posting_of(settings, ledger.catalog.title, secret_of(settings), clock, secrets.token_bytes)
    )


def shop_of(
    settings: Settings,
    ledger: Ledger,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
) -> Shop:
    """The shop for a client of this process, which serves no pages: they are where the settings say `serve` is."""
    at = (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")
    return make_shop(settings, ledger, lambda: at, clock=clock, ids=ids)


def trader(shop: Shop, actor: str) -> Trader:
    """What a client in this process asks the shop by."""
    from tokentill.web.trading import Trader  # noqa: PLC0415 whoever does not sell need not load it

    return Trader(shop, actor)


def trade_places() -> Mapping[str, tuple[str, str]]:
    """Method and path of every route of the shop, by its name."""
    from tokentill.web.trading import PLACES  # noqa: PLC0415 as above

    return PLACES


def log_to_stderr(settings: Settings, *, quiet: bool = False) -> None:
    """Log to standard error as the settings say; `quiet`: only what somebody at a terminal must know."""
    level = logging.WARNING if quiet else getattr(logging, settings.log_level.upper())
    before: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    as_json = settings.log_format == "json"
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    final: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        final.append(structlog.processors.dict_tracebacks)
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=[*final, renderer])
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("tokentill: %(message)s") if quiet else formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(
        max(level, logging.WARNING)
    )  # its start and end are told by `serve`
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def intents_in(folder: Path) -> Sequence[IntentState]:
    """The charges that are kept in the folder of the setting `spool`, of every till that uses it."""
    return read_all(folder)


def name_of_ledger(secret: bytes) -> str:
    """A name for a ledger, the same in every process: for its file in the spool."""
    return blake2b(secret, digest_size=8, person=b"tokentill spool").hexdigest()


def name_of_url(url: str) -> str:
    """A name for the till at `url`, for its file in the spool."""
    return re.sub(r"[^0-9A-Za-z.]+", "-", url).strip("-")


def charging(
    books: Books,
    spool: Path,
    name: str,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    retry: Retry | None = None,
) -> Charging:
    """What runs operations and charges them; what cannot be stored waits in `spool`, under the till's name."""
    return Charging(books, FileIntents(spool, name), clock or SystemClock(), ids or SystemIds(), retry)


catalog_view = views.catalog


def journal_view(page: Page) -> JournalView:
    """A page of the journal as the API shows it."""
    following = None if page.next is None else str(page.next)
    return JournalView(entries=tuple(map(views.line, page.rows)), next=following)


def operation_view(operation: str, rows: Sequence[JournalRow]) -> OperationView:
    """An operation as the API shows it."""
    return views.operation(operation, tuple(map(views.line, rows)))
