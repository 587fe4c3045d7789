"""Settings: one table of name, type, default and help, from which everything else about them is made.

A setting comes from the command line, else from the environment variable `TOKENTILL_<NAME>`, else it is
its default. `docs/reference/settings.md` and `tokentill settings` are rendered from this table.

There is no default for a secret: the embedded database gets one of its own at first start
(`tokentill.wiring.secret_of`), PostgreSQL must be given one.

Requirement ids: R-PLAT-5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

PREFIX = "TOKENTILL_"
POSTGRES_SCHEMES = ("postgresql://", "postgres://")
HIDDEN = frozenset({"secret", "key", "stripe_key", "stripe_webhook_secret", "paypal_secret", "mail_url"})
"""Settings whose value is never shown."""


class SettingsError(Exception):
    """A setting that cannot be used: what is wrong, and what to do about it."""


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting. The help text of each is what the reference says about it."""

    database: Annotated[
        str,
        Meta(
            description="Where the accounts are: the path of an SQLite file, or a PostgreSQL address such as "
            "`postgresql://user@host/name`."
        ),
    ] = "tokentill.db"
    catalog: Annotated[
        str,
        Meta(description="What is sold: `analysis`, `goals`, `shop`, or the path of a catalog file (TOML)."),
    ] = "goals"
    secret: Annotated[
        str | None,
        Meta(
            description="The secret that seals the journal, 64 or more hex digits. Without it an SQLite "
            "database uses the file `<database>.key`, made at first start; PostgreSQL needs it or "
            "`secret_file`."
        ),
    ] = None
    secret_file: Annotated[
        str | None, Meta(description="A file that holds the secret, instead of `secret`.")
    ] = None
    host: Annotated[str, Meta(description="The address `serve` listens on.")] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65535, description="The port `serve` listens on; 0 takes a free one.")
    ] = 8420
    spool: Annotated[
        str | None,
        Meta(
            description="The folder for charges whose operation succeeded while the database was away. "
            "Default: `<database>.spool`, or `tokentill.spool` in the current folder where the database is "
            "no file."
        ),
    ] = None
    drain_seconds: Annotated[
        int,
        Meta(ge=0, le=3600, description="How long `serve` waits for running requests when it is stopped."),
    ] = 10
    trusted_proxies: Annotated[
        str,
        Meta(
            description="Addresses of proxies whose `X-Forwarded-For` is believed, separated by commas. "
            "Only the address of the client is read from it."
        ),
    ] = ""
    production: Annotated[
        Literal["yes", "no"],
        Meta(
            description="Whether this till takes real money. With `yes` there are no test payments, and PayPal is the "
            "real one."
        ),
    ] = "no"
    public_url: Annotated[
        str | None,
        Meta(
            description="The address at which customers reach the till's own pages, such as "
            "`https://pay.example.com`. Default: the address that `serve` listens on."
        ),
    ] = None
    stripe_key: Annotated[
        str | None, Meta(description="The secret or restricted key of a Stripe account, to be paid there.")
    ] = None
    stripe_webhook_secret: Annotated[
        str | None,
        Meta(
            description="The signing secret (`whsec_…`) of the Stripe webhook endpoint; while it is being "
            "replaced both, separated by a comma."
        ),
    ] = None
    stripe_api_base: Annotated[
        str | None, Meta(description="Where the Stripe API is, if not at Stripe: for tests.")
    ] = None
    paypal_client_id: Annotated[
        str | None, Meta(description="The client id of a PayPal REST app, to be paid there.")
    ] = None
    paypal_secret: Annotated[str | None, Meta(description="The secret of that app.")] = None
    paypal_webhook_id: Annotated[
        str | None, Meta(description="The id of the webhook that PayPal sends its events to.")
    ] = None
    paypal_api_base: Annotated[
        str | None,
        Meta(description="Where the PayPal API is. Default: PayPal itself in production, else its sandbox."),
    ] = None
    embedded_payments: Annotated[
        Literal["auto", "yes", "no"],
        Meta(
            description="Whether the till has test payments of its own, in which no money moves; `auto`: "
            "except in production, where they are refused."
        ),
    ] = "auto"
    mail_url: Annotated[
        str | None,
        Meta(
            description="The mail server that receipts and warnings are sent by, such as "
            "`smtp://user:password@mail.example.com:587` or `smtps://…:465`. Without it nobody gets e-mail."
        ),
    ] = None
    mail_from: Annotated[
        str | None, Meta(description="The address that e-mail comes from; `mail_url` needs it.")
    ] = None
    answers_hours: Annotated[
        int,
        Meta(
            ge=1,
            le=8760,
            description="How long the answer of a model call under an idempotency key is kept, encrypted, to be given "
            "again to a retry.",
        ),
    ] = 24
    private_webhooks: Annotated[
        Literal["no", "yes"],
        Meta(
            description="Whether webhooks may go to private addresses and over plain HTTP, to try them on one machine; "
            "refused in production."
        ),
    ] = "no"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least serious events that are logged."),
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Meta(description="How events are logged, on standard error.")
    ] = "text"
    url: Annotated[
        str | None,
        Meta(
            description="The address of a running tokentill, such as `http://127.0.0.1:8420`. With it the "
            "command line works over HTTP instead of on the database."
        ),
    ] = None
    key: Annotated[str | None, Meta(description="The operator key (`tt_op_…`) for `url`.")] = None

    @property
    def postgres(self) -> bool:
        """Whether the accounts are in PostgreSQL."""
        return self.database.startswith(POSTGRES_SCHEMES)

    @property
    def spool_folder(self) -> Path:
        """The folder for intents."""
        if self.spool is not None:
            return Path(self.spool)
        in_file = not self.postgres and self.url is None
        return Path(f"{self.database}.spool" if in_file else "tokentill.spool")


class Setting(Struct, frozen=True):
    """One row of the table."""

    name: str
    variable: str
    type: str
    default: Any
    help: str


def _described(hint: object) -> tuple[str, str]:
    """The type of a setting in words, and its help."""
    inner, *notes = get_args(hint)
    text = next(note.description for note in notes if isinstance(note, Meta) and note.description)
    if get_origin(inner) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(inner)), text
    return ("number" if inner is int else "text"), text


def table() -> tuple[Setting, ...]:
    """Every setting, in the order of the reference."""
    hints = get_type_hints(Settings, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(Settings):
        kind, text = _described(hints[field.name])
        rows.append(Setting(field.name, PREFIX + field.name.upper(), kind, field.default, text))
    return tuple(rows)


def load(environment: Mapping[str, str], given: Mapping[str, object] | None = None) -> Settings:
    """The settings from `environment`, overruled by what is `given` (None there means not given).

    Raises `SettingsError` naming the setting, where its value came from, and what it may be.
    """
    values: dict[str, object] = {}
    source: dict[str, str] = {}
    for setting in table():
        if environment.get(setting.variable, "") != "":
            values[setting.name] = environment[setting.variable]
            source[setting.name] = setting.variable
        chosen = (given or {}).get(setting.name)
        if chosen is not None:
            values[setting.name] = chosen
            source[setting.name] = f"--{setting.name.replace('_', '-')}"
    for name, value in values.items():
        try:
            msgspec.convert({name: value}, Settings, strict=False)
        except msgspec.ValidationError as error:
            row = next(setting for setting in table() if setting.name == name)
            takes = f"a {row.type}" if row.type in ("number", "text") else row.type
            raise SettingsError(
                f"{source[name]} cannot be {shown(name, value)!r}: it takes {takes}. {row.help} ({error})"
            ) from error
    settings = msgspec.convert(values, Settings, strict=False)
    if "://" in settings.database and not settings.postgres:
        raise SettingsError(
            f"{source['database']} cannot be {shown('database', settings.database)!r}: it takes the path of an "
            "SQLite file, or an address that begins with `postgresql://`."
        )
    return settings


def shown(name: str, value: object) -> str:
    """A setting's value as it may be printed."""
    if value is None:
        return ""
    if name in HIDDEN:
        return "(set)"
    text = str(value)
    if name == "database" and "://" in text:
        scheme, _, rest = text.partition("://")
        user, at, place = rest.rpartition("@")
        return f"{scheme}://{user.partition(':')[0]}{at}{place}"
    return text


def reference() -> str:
    """The page `docs/reference/settings.md`."""
    lines = [
        "# Settings",
        "",
        "<!-- Rendered from tokentill.settings; a test holds it in step. -->",
        "",
        "A setting is given on the command line, else by its environment variable, else it is its default.",
        "`tokentill settings` prints the ones in force, without the secret ones.",
        "",
        "| setting | variable | type | default | what it does |",
        "|---|---|---|---|---|",
    ]
    for row in table():
        default = f"`{row.default}`" if row.default not in (None, "") else ""
        lines.append(f"| `{row.name}` | `{row.variable}` | {row.type} | {default} | {row.help} |")
    return "\n".join(lines) + "\n"
