"""What a well-formed catalog may still get wrong: the impossible, which is refused, and the dubious.

Impossible is only what can never have been meant: a feature in a plan whose every single use is larger than
the size cap. Everything else is legal, because an operator may know better, and is said once, with its
arithmetic: limits that can never bind, things nobody can run, settings without effect. Prices that defeat one
another are looked at in `tokentill.rules.catalog_prices_checks`.

Each warning has a `code`, the name of its check. A policy that several plans share is reported once, at the
place where it is written.

What it does not decide: anything. A catalog with warnings works as it says.

Requirement ids: R-PLAN-9, R-ABU-1, R-ABU-2, R-ABU-3, R-ABU-5, R-PLAN-5, R-PLAN-6, R-LIC-2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Struct

from tokentill.rules.catalog import MINUTE_MS, AbuseLimits, Catalog, Feature, Pack, Plan
from tokentill.rules.catalog_reader import Findings

Says = tuple[str, str, str, str]
"""What a check yields: code, path, what is dubious, what to do."""


class Source(Struct, frozen=True):
    """A catalog beside the file's own values, which show where each thing is written."""

    catalog: Catalog
    data: dict[str, Any]

    def runnable(self) -> Iterator[tuple[Plan | None, Feature, AbuseLimits]]:
        """Each feature that can be run, on each plan and without one, with its limits there."""
        catalog = self.catalog
        for id_ in sorted(catalog.no_plan_features):
            yield None, catalog.features[id_], catalog.no_plan_abuse[id_]
        for plan in catalog.plans.values():
            for id_ in sorted(plan.features):
                yield plan, catalog.features[id_], plan.abuse[id_]

    def written(self, path: str) -> bool:
        """Whether the file says something at a path. Ids that contain points are not followed."""
        here: Any = self.data
        for key in path.split("."):
            if not isinstance(here, dict) or key not in here:
                return False
            here = here[key]
        return True

    def limit(self, plan: Plan | None, feature: Feature, limit: str) -> str:
        """The path at which the limit that holds is written."""
        owner = f"plans.{plan.id}" if plan else "no_plan"
        paths = (f"features.{feature.id}.abuse.{limit}", f"{owner}.abuse.{limit}")
        return next((path for path in paths if self.written(path)), f"abuse.{limit}")

    def policy(self, plan: Plan, policy: str) -> str:
        """The path at which a policy of the plan is written: its own, else the one for all plans."""
        own = f"plans.{plan.id}.{policy}"
        return policy if self.written(policy) and not self.written(own) else own


def impossible(catalog: Catalog, data: dict[str, Any], findings: Findings) -> None:
    """Record the mistakes that show only when sections are seen together."""
    source = Source(catalog, data)
    said = set()
    for plan, feature, limits in source.runnable():
        cap = limits.tokens_per_request_max
        if cap is not None and feature.tokens > cap and feature.id not in said:
            said.add(feature.id)
            findings.add(
                source.limit(plan, feature, "tokens_per_request_max"),
                f"{cap} is below the price of {feature.id} ({feature.tokens}), which could never run",
                f"write {feature.tokens} or more",
            )


def dubious(catalog: Catalog, data: dict[str, Any], findings: Findings) -> None:
    """Record the warnings about everything but prices."""
    report((_limits, _plans, _policies, _features, _licence, _low_balance), Source(catalog, data), findings)


def report(checks: Iterable[Callable[[Source], Iterator[Says]]], source: Source, findings: Findings) -> None:
    """Record what the checks say, in turn, each place once."""
    said = set()
    for check in checks:
        for code, path, wrong, allowed in check(source):
            if (code, path) not in said:
                said.add((code, path))
                findings.add(path, wrong, allowed, code)


def buyable(catalog: Catalog, plan: Plan | None) -> list[Pack]:
    """The packs that an organization on `plan` (None = without one) may buy and could use."""
    if plan is None:
        usable = bool(catalog.no_plan_features)
        return [pack for pack in catalog.packs.values() if pack.enabled and usable and not pack.plans]
    usable = plan.exhaustion.packs and bool(plan.features)
    return [
        pack
        for pack in catalog.packs.values()
        if pack.enabled and usable and (not pack.plans or plan.id in pack.plans)
    ]


def _limits(source: Source) -> Iterator[Says]:
    """Limits that can never bind, and alerts that can never be raised (R-ABU-1, R-ABU-2, R-ABU-3, R-ABU-5)."""
    for plan, feature, limits in source.runnable():
        rate, spacing = limits.requests_per_minute_max, limits.spacing_ms_min
        if rate is not None and spacing is not None and rate >= (most := -(-MINUTE_MS // spacing)):
            yield (
                "limit-never-binds",
                source.limit(plan, feature, "requests_per_minute_max"),
                f"{rate} a minute can never bind, since {spacing} ms between requests allow only {most}",
                f"write less than {most}, or a shorter spacing",
            )
        most = 0 if plan is None else _most_in_a_period(source.catalog, plan)
        if plan is None or most == 0:
            continue
        size = limits.tokens_per_request_max
        if size is not None and most <= size:
            yield (
                "limit-never-binds",
                source.limit(plan, feature, "tokens_per_request_max"),
                f"{size} tokens a request can never bind on plan {plan.id}, which has at most {most}",
                f"write less than {most}",
            )
        alert, share = limits.burn_alert_tokens_per_hour, limits.burn_alert_percent_of_allowance
        if alert and share is None and most <= alert:
            yield (
                "alert-never-raised",
                source.limit(plan, feature, "burn_alert_tokens_per_hour"),
                f"more than {alert} tokens can never burn on plan {plan.id}, which has at most {most}",
                "write less, or add burn_alert_percent_of_allowance",
            )
        if share and most * 100 <= share * plan.tokens:
            yield (
                "alert-never-raised",
                source.limit(plan, feature, "burn_alert_percent_of_allowance"),
                f"more than {share} % of {plan.tokens} can never burn on plan {plan.id}, which has at most {most}",
                f"write less than {most * 100 // plan.tokens}",
            )


def _plans(source: Source) -> Iterator[Says]:
    """Plans that sell nothing."""
    for plan in source.catalog.plans.values():
        path = f"plans.{plan.id}"
        granted = plan.tokens or plan.unlimited
        if plan.features and not (granted or plan.exhaustion.overage or buyable(source.catalog, plan)):
            wrong = "the plan has features but no way to get tokens"
            yield "plan-without-tokens", f"{path}.tokens", wrong, "grant tokens or sell it packs"
        if not plan.features and granted:
            wrong = "the plan has tokens but nothing to spend them on"
            yield "plan-without-features", f"{path}.features", wrong, "name its features"
        if plan.exhaustion.wait and not granted:
            wrong = "waiting for the reset is offered, but the reset brings no tokens"
            yield "wait-for-nothing", source.policy(plan, "exhaustion.wait"), wrong, "write wait = false"


def _policies(source: Source) -> Iterator[Says]:
    """Settings without effect (R-PLAN-4, R-PLAN-5, R-PLAN-6)."""
    for plan in source.catalog.plans.values():
        mode, cap = plan.rollover.mode, plan.rollover.cap
        policies = (
            (
                cap is not None and mode != "capped",
                "rollover.cap",
                f'a cap has no effect while the mode is "{mode}"',
                'write mode = "capped"',
            ),
            (
                mode == "capped" and cap == 0,
                "rollover.cap",
                "a cap of 0 keeps nothing",
                'write mode = "none"',
            ),
            (
                plan.cycle.kind == "month" and source.written(source.policy(plan, "cycle.days")),
                "cycle.days",
                "days have no effect on a cycle of months",
                'write kind = "days"',
            ),
            (
                plan.cycle.kind == "days" and plan.cycle.zone != "UTC",
                "cycle.zone",
                "a zone has no effect on a cycle of days, which are 24 hours each",
                "remove it",
            ),
            (
                plan.fair_use is not None and not plan.unlimited,
                "fair_use",
                "a fair-use cap has no effect on a plan with a token limit",
                "remove it",
            ),
            (
                plan.unlimited and plan.fair_use is None and bool(plan.exhaustion.overage),
                "exhaustion.overage",
                "an unlimited plan without a fair-use cap is never exhausted",
                "remove it",
            ),
            (
                bool(plan.exhaustion.overage) and plan.exhaustion.grace_uses > 0,
                "exhaustion.grace_uses",
                "overage and grace uses both let an operation through",
                "keep one of them",
            ),
        )
        for holds, policy, wrong, allowed in policies:
            if holds:
                yield "no-effect", source.policy(plan, policy), wrong, allowed


def _features(source: Source) -> Iterator[Says]:
    """Features that nobody can run, that cost nothing, or that no debt switches off (R-LIC-2)."""
    catalog = source.catalog
    reachable = catalog.no_plan_features.union(*(plan.features for plan in catalog.plans.values()))
    groups = {step.group for step in catalog.licence.steps}
    for feature in catalog.features.values():
        path = f"features.{feature.id}"
        if feature.id not in reachable:
            allowed = "name it in a plan or in no_plan.features"
            yield "feature-unreachable", path, "no plan runs this feature", allowed
        free = not (feature.tokens or feature.input_per_1000 or feature.output_per_1000)
        if free:
            yield "feature-free", path, "the feature costs nothing", "write its price"
        # Whatever costs tokens is off as long as payment is failed, whichever its group (R-LIC-1).
        if free and feature.id in reachable and feature.group not in groups:
            wrong = f'group "{feature.group}" is no step of the licence, so it runs on when payment fails'
            yield "group-never-off", f"{path}.group", wrong, "add it to licence.steps"
    if catalog.no_plan_features and not buyable(catalog, None):
        wrong = "an organization without a plan may run features but buy no pack"
        yield "no-plan-without-packs", "no_plan.features", wrong, "sell a pack that needs no plan"


def _low_balance(source: Source) -> Iterator[Says]:
    """A warning from the first moment on (R-PLAN-8).

    A fixed number of tokens never is one: it is not used where the allowance itself is no larger. Who has an
    unlimited plan is never warned.
    """
    catalog = source.catalog
    warned = catalog.no_plan_features or any(not plan.unlimited for plan in catalog.plans.values())
    if warned and catalog.low_balance.percent == 100:
        wrong = "every balance is low from the start, since the warning comes at the whole allowance"
        yield "always-low", "low_balance.percent", wrong, "write less than 100"


def _licence(source: Source) -> Iterator[Says]:
    """Steps inside the days of grace, other than at once (R-LIC-2)."""
    grace = source.catalog.licence.grace_days
    for number, step in enumerate(source.catalog.licence.steps, 1):
        if 0 < step.after_days <= grace:
            wrong = f'"{step.group}" goes off on day {step.after_days}, within the {grace} days of grace'
            path = f"licence.steps[{number}].after_days"
            yield "step-in-grace", path, wrong, f"write 0, or {grace + 1} or more"


def _most_in_a_period(catalog: Catalog, plan: Plan) -> int:
    """The most that can be spent in a period; 0 where it has no bound, or nothing can be spent."""
    exhaustion = plan.exhaustion
    beyond = exhaustion.overage or exhaustion.grace_uses or plan.bundled_tokens or buyable(catalog, plan)
    if plan.unlimited or beyond or plan.rollover.mode == "unlimited":
        return 0
    carried = plan.tokens if plan.rollover.cap is None else plan.rollover.cap
    return plan.tokens + (carried if plan.rollover.mode == "capped" else 0)
