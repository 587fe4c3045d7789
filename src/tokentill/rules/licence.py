"""The licence: what an organization may run while its payment has failed, and why not (R-LIC-1…5).

The day of the failure is day 0; grace is days 1 to 14 whole; a group of features with `after_days` n goes
off n × 24 h after the first failure (readings). Further failures of the same debt never restart the clock.
Standing: active, past_due on day 0, grace until its days are over, then offline. Everything comes back at
once when payment is fixed.

Requirement ids: R-LIC-1, R-LIC-2, R-LIC-3, R-LIC-4, R-LIC-5.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.rules.account import State
from tokentill.rules.catalog import DAY_MS, Catalog, Licence
from tokentill.rules.entries import Standing
from tokentill.rules.refusals import Code, Refusal, WayOut


class FeatureState(Struct, frozen=True):
    """Whether a feature may run now and, if not, which code says why and in what words (R-LIC-4)."""

    feature: str
    title: str
    group: str
    on: bool
    code: Code | None = None
    reason: str | None = None


class GroupState(Struct, frozen=True):
    """Whether a part of the product is on; `off_at` is when it will go off if payment stays failed."""

    group: str
    on: bool
    off_at: int | None = None


def standing_at(failed_at: int | None, licence: Licence, now: int) -> Standing:
    """The rung of the ladder at `now` for a payment that first failed at `failed_at`."""
    if failed_at is None:
        return "active"
    days = (now - failed_at) // DAY_MS
    if days < 1:
        return "past_due"
    return "grace" if days <= licence.grace_days else "offline"


def groups_off(failed_at: int | None, licence: Licence, now: int) -> tuple[str, ...]:
    """The groups of features that are off at `now`, in the ladder's order."""
    if failed_at is None:
        return ()
    return tuple(step.group for step in licence.steps if now >= failed_at + step.after_days * DAY_MS)


def next_stage(failed_at: int, licence: Licence, now: int) -> int | None:
    """When the ladder's next rung is reached, None after the last."""
    days = {1, licence.grace_days + 1} | {step.after_days for step in licence.steps}
    return min((at for day in days if (at := failed_at + day * DAY_MS) > now), default=None)


def groups(state: State, catalog: Catalog, now: int) -> tuple[GroupState, ...]:
    """Every group of the ladder with on/off (`checkGracePeriod`, R-LIC-4)."""
    failed = state.failed_at
    off = groups_off(failed, catalog.licence, now)
    return tuple(
        GroupState(
            step.group, step.group not in off, None if failed is None else failed + step.after_days * DAY_MS
        )
        for step in catalog.licence.steps
    )


def refuse(state: State, catalog: Catalog, feature: str, tokens: int, now: int) -> Refusal | None:
    """Why the licence forbids this use of `feature` now, None if it does not (`validateAIOperationAllowed`).

    While payment is failed nothing that costs tokens can run, for the tokens are set aside (R-LIC-1); a
    feature of a group that is still on can run only if it costs none.
    """
    if state.failed_at is None:
        return None
    group = catalog.features[feature].group
    if tokens == 0 and group not in groups_off(state.failed_at, catalog.licence, now):
        return None
    offline = state.standing == "offline"
    texts = catalog.texts
    return Refusal(
        Code.LICENCE,
        texts.offline if offline else texts.payment_failed,
        headline=texts.payment_failed,
        detail=state.standing,
        purchase_link=texts.purchase_link,
        ways_out=(WayOut("pay", texts.payment_failed, link=texts.purchase_link),),
    )


def features(state: State, catalog: Catalog, now: int) -> tuple[FeatureState, ...]:
    """Every feature of the catalog with on/off and the reason, so that a host can grey it out (R-LIC-4)."""
    return tuple(_feature_state(state, catalog, feature, now) for feature in catalog.features)


def _feature_state(state: State, catalog: Catalog, name: str, now: int) -> FeatureState:
    feature = catalog.features[name]
    refusal = refuse(state, catalog, name, 1 if feature.metered else feature.tokens, now)
    plan = None if state.plan is None else catalog.plans.get(state.plan)
    if refusal is None and plan is None and name not in catalog.no_plan_features:
        refusal = Refusal(Code.NO_PLAN, "This feature needs a plan.")
    if refusal is None and plan is not None and name not in plan.features:
        refusal = Refusal(Code.NOT_IN_PLAN, f"The plan {plan.title} does not include this feature.")
    if refusal is None:
        return FeatureState(name, feature.title, feature.group, on=True)
    return FeatureState(name, feature.title, feature.group, False, refusal.code, refusal.message)
