"""Routes: the table of everything the API answers.

Dispatch, the OpenAPI document and the tests of authentication are all read off it, so that none of them can
miss a route. Every route asks the gate unless it says `open`.
"""

from __future__ import annotations

from tokentill.flows.check import Checks, Features
from tokentill.ports import Health, OperatorKey
from tokentill.rules.balance import Balance
from tokentill.rules.refusals import Code
from tokentill.web import bodies, operators, orders, public, reads, views, webhooks
from tokentill.web.care import CARE
from tokentill.web.handover_routes import HANDOVERS
from tokentill.web.key_routes import KEYS
from tokentill.web.office_routes import OFFICE
from tokentill.web.reconciling import RECONCILING
from tokentill.web.refund_routes import REFUNDS
from tokentill.web.route import ORG, Route
from tokentill.web.route import order as _order
from tokentill.web.route import read as _read
from tokentill.web.shop_routes import SHOP

__all__ = ["ORG", "ROUTES", "Route"]

_ADMIT = (
    Code.UNKNOWN_FEATURE, Code.BLOCKED, Code.TOO_LARGE, Code.RATE, Code.SPACING, Code.LICENCE, Code.NO_PLAN,
    Code.NOT_IN_PLAN, Code.HELD, Code.SPENDING_CAP, Code.EXHAUSTED,
)  # fmt: skip
_HOLD = (Code.UNKNOWN_HOLD, Code.HOLD_EXPIRED, Code.HOLD_ENDED)


CHARGING = (
    _order(
        f"{ORG}/holds", "reserve", "Reserve tokens for an operation that is about to run",
        orders.keyed(orders.reserve, 201), bodies.HoldBody, *_ADMIT, Code.HOLDS_MAX, Code.KEY_REUSED,
        status=201, attempts=True,
    ),
    _order(
        f"{ORG}/holds/{{hold}}/settle", "settle", "Charge what the operation used and give the rest back",
        orders.of_operation(orders.settle), bodies.SettleBody, *_HOLD, Code.EXCEEDS_HOLD,
    ),
    _order(
        f"{ORG}/holds/{{hold}}/release", "release", "End a hold and charge nothing",
        orders.of_operation(orders.release), bodies.ReleaseBody, *_HOLD,
    ),
    _order(
        f"{ORG}/holds/{{hold}}/extend", "extend", "Let a hold last longer",
        orders.of_operation(orders.extend), bodies.ExtendBody, *_HOLD,
    ),
    _order(
        f"{ORG}/charges", "charge", "Charge at once, where nothing has to run in between",
        orders.keyed(orders.charge, 201), bodies.ChargeBody, *_ADMIT, Code.KEY_REUSED,
        status=201, attempts=True,
    ),
    _order(
        f"{ORG}/charges/{{operation}}/refund", "refund", "Give a charge back, whole or in part, once",
        orders.of_operation(orders.refund), bodies.RefundBody,
        Code.UNKNOWN_OPERATION, Code.EXCEEDS_CHARGE, Code.ALREADY_REFUNDED, Code.NOT_POSSIBLE,
    ),
)  # fmt: skip

ACCOUNTS = (
    _order(
        "/v1/organizations", "openOrganization", "Open an organization's account",
        orders.open_organization, bodies.OrganizationBody,
        Code.ORGANIZATION_EXISTS, Code.UNKNOWN_PLAN, Code.KEY_REUSED, Code.NOT_POSSIBLE, status=201,
    ),
    _order(
        f"{ORG}/grants", "grant", "Add a lot of tokens or money credit",
        orders.keyed(orders.grant, 201), bodies.GrantBody, Code.KEY_REUSED, status=201,
    ),
    _order(
        f"{ORG}/adjustments", "adjust", "Correct the balance by hand, with a reason",
        orders.keyed(orders.adjust, 201), bodies.AdjustmentBody, Code.EXCEEDS_UNHELD, Code.KEY_REUSED, status=201,
    ),
    _order(
        f"{ORG}/freeze", "freeze", "Payment failed: set the tokens aside",
        orders.keyed(orders.freeze), bodies.FreezeBody, Code.KEY_REUSED, Code.NOT_POSSIBLE,
    ),
    _order(
        f"{ORG}/restore", "restore", "Payment is fixed: give everything back at once",
        orders.keyed(orders.restore), bodies.RestoreBody, Code.KEY_REUSED, Code.NOT_POSSIBLE,
    ),
    _order(
        f"{ORG}/plan", "changePlan", "Change or cancel the plan",
        orders.keyed(orders.change_plan), bodies.PlanBody, Code.UNKNOWN_PLAN, Code.KEY_REUSED, Code.NOT_POSSIBLE,
    ),
    _order(
        f"{ORG}/reset", "reset", "Begin a new period now",
        orders.keyed(orders.reset), bodies.ResetBody, Code.KEY_REUSED, Code.NOT_POSSIBLE,
    ),
    _order(
        f"{ORG}/cap", "setCap", "Set the customer's spending cap for overage",
        orders.keyed(orders.set_cap), bodies.CapBody, Code.KEY_REUSED,
    ),
    _order(
        f"{ORG}/users/{{user}}/unblock", "unblock", "Lift a user's block",
        orders.keyed(orders.unblock), bodies.UnblockBody, Code.KEY_REUSED, Code.NOT_POSSIBLE,
    ),
    _order(
        f"{ORG}/reviews", "review", "List a charge that could not be stored in time for a person to look at",
        orders.keyed(orders.review, 201), bodies.ReviewBody, Code.KEY_REUSED, status=201,
    ),
    Route(
        method="DELETE", path=f"{ORG}/users/{{user}}", name="eraseUser", summary="Erase the name of a user",
        run=operators.erase_user, reply=views.Erasure, mutates=True,
    ),
)  # fmt: skip

READS = (
    _read(
        "/v1/organizations", "listOrganizations", "List organizations in order of their ids",
        reads.organizations, views.OrganizationList, query=bodies.ListQuery,
    ),
    _read(ORG, "getOrganization", "An organization's plan, standing and balance",
          reads.organization, views.OrganizationView),
    _read(f"{ORG}/balance", "getBalance", "An organization's balance", reads.balance_of, Balance),
    _read(
        f"{ORG}/journal", "getJournal", "The usage log, newest first",
        reads.journal, views.JournalView, query=bodies.JournalQuery,
    ),
    _read(
        f"{ORG}/operations/{{operation}}", "getOperation", "Everything that happened to one operation",
        reads.operation, views.OperationView, refusals=(Code.UNKNOWN_OPERATION,),
    ),
    _read(f"{ORG}/features", "getFeatures", "Which features may run now, and why not", reads.features, Features),
    _read(
        f"{ORG}/checks", "getChecks", "What every layer would say to a use, changing nothing",
        reads.checks, Checks, query=bodies.CheckQuery, refusals=(Code.UNKNOWN_FEATURE,),
    ),
    _read("/v1/catalog", "getCatalog", "What is sold", reads.catalog, views.CatalogView),
)  # fmt: skip

OPERATORS = (
    _read("/v1/operator-keys", "listOperatorKeys", "Every operator key, without its secret",
          operators.list_keys, views.OperatorKeyList),
    Route(
        method="POST", path="/v1/operator-keys", name="createOperatorKey",
        summary="Make an operator key; its text is shown this once",
        run=operators.create_key, reply=views.NewOperatorKey, status=201, body=bodies.OperatorKeyBody, mutates=True,
    ),
    Route(
        method="DELETE", path="/v1/operator-keys/{key}", name="revokeOperatorKey",
        summary="Revoke an operator key, everywhere within a second",
        run=operators.revoke_key, reply=OperatorKey, mutates=True,
    ),
)  # fmt: skip

PUBLIC = (
    _read("/v1/health", "getHealth", "Whether the till can charge", public.health, Health, open=True),
    Route(
        method="POST",
        path="/v1/webhooks/{provider}",
        name="receiveEvent",
        summary="Where a payment provider sends its signed events",
        run=webhooks.receive,
        reply=webhooks.Received,
        open=True,
        raw=True,
    ),
    _read("/metrics", "getMetrics", "Counters for Prometheus", reads.metrics, None),
    _read(
        "/openapi.json", "getOpenApi", "This API as an OpenAPI 3.1 document", public.openapi, None, open=True
    ),
)

ROUTES: tuple[Route, ...] = (
    *CHARGING,
    *ACCOUNTS,
    *READS,
    *SHOP,
    *OFFICE,
    *CARE,
    *REFUNDS,
    *KEYS,
    *RECONCILING,
    *HANDOVERS,
    *OPERATORS,
    *PUBLIC,
)
