"""Check: ask what a use would meet, without using anything.

`battery` gives the verdict of every layer on its own, in the order in which a charge asks them: abuse →
licence → plan → balance (R-ABU-8). `features` says which features may run now, and why not (R-LIC-4). Both
read the account as of the last commit and change nothing; a later charge is decided anew.

Requirement ids: R-ABU-7, R-ABU-8, R-LIC-4.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.ports import Clock, Ledger
from tokentill.rules import abuse, decide, exhaustion, licence
from tokentill.rules.account import Account
from tokentill.rules.catalog import Catalog
from tokentill.rules.commands import Envelope, Reserve
from tokentill.rules.entries import Standing
from tokentill.rules.ledger import outside_plan
from tokentill.rules.refusals import Layer, Refusal
from tokentill.rules.turn import Turn

_NO_OPERATION = "0" * 32
"""Stands for an operation's id; none has such a one."""


class LayerAnswer(Struct, frozen=True):
    """What one layer says: `refusal` is None where it passes. `check` tells the abuse layers apart."""

    layer: Layer
    check: str
    refusal: Refusal | None
    limit: int | None = None


class Checks(Struct, frozen=True):
    """Every layer's answer, and the one a charge would get: `refusal` is None if it would be admitted.

    `layer` is the refusal's own (R-ABU-7); that of too many holds has no row in `layers`.
    """

    tokens: int
    refusal: Refusal | None
    layers: tuple[LayerAnswer, ...]
    layer: Layer | None = None


class Features(Struct, frozen=True):
    """Every feature and every group of features with on/off and the reason."""

    standing: Standing
    features: tuple[licence.FeatureState, ...]
    groups: tuple[licence.GroupState, ...]


async def battery(ledger: Ledger, clock: Clock, organization: str, use: Reserve) -> Checks | Refusal | None:
    """What every layer says to `use` (`runAbuseCheckBattery`); a refusal if the use itself is not valid.

    None if there is no such organization.
    """
    account = await ledger.account(organization)
    if account is None:
        return None
    now = account.moment(clock.now())
    catalog = ledger.catalog
    user = None if use.user is None else ledger.opaque(organization, use.user)
    tokens = _tokens(use, catalog)
    layers = _layers(account, catalog, use.feature, user, tokens, now) if tokens is not None else ()
    # The account is this caller's own copy, so deciding on it stores nothing.
    whole = Reserve(feature=use.feature, user=user, quantity=use.quantity, tokens=use.tokens, least=use.least)
    outcome = decide.execute(account, Envelope(organization, whole, _NO_OPERATION), catalog, now)
    refusal = outcome.reply if isinstance(outcome.reply, Refusal) else None
    if tokens is None or (refusal is not None and refusal.layer == "request"):
        assert refusal is not None, "a use without a price is refused"
        return refusal
    return Checks(tokens, refusal, layers, None if refusal is None else refusal.layer)


async def features(ledger: Ledger, clock: Clock, organization: str) -> Features | None:
    """Which features the organization may run now; None if there is no such organization."""
    account = await ledger.account(organization)
    if account is None:
        return None
    state, catalog = account.state, ledger.catalog
    now = account.moment(clock.now())
    return Features(
        licence.standing_at(state.failed_at, catalog.licence, now),
        licence.features(state, catalog, now),
        licence.groups(state, catalog, now),
    )


def _tokens(use: Reserve, catalog: Catalog) -> int | None:
    feature = catalog.features.get(use.feature)
    if feature is None:
        return None
    return use.tokens if feature.metered else feature.tokens * use.quantity


def _layers(
    account: Account, catalog: Catalog, feature: str, user: str | None, tokens: int, now: int
) -> tuple[LayerAnswer, ...]:
    state = account.state
    limits = abuse.limits_of(catalog, state.plan, feature)
    plan = None if state.plan is None else catalog.plans.get(state.plan)
    covered = exhaustion.cover(account, plan, tokens, None) is not None
    return (
        *(
            LayerAnswer("abuse", verdict.layer, verdict.refusal, verdict.limit)
            for verdict in abuse.battery(state, user, limits, tokens, now)
        ),
        LayerAnswer("licence", "licence", licence.refuse(state, catalog, feature, tokens, now)),
        LayerAnswer(
            "plan",
            "plan",
            outside_plan(Turn.begin(account, catalog, now, decide.none_found), plan, feature, tokens),
        ),
        LayerAnswer(
            "balance",
            "balance",
            None if covered else exhaustion.refuse(account, catalog, plan, tokens, now),
            account.free,
        ),
    )
