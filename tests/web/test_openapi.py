"""The OpenAPI document is whole and true: schema, examples, and random requests made from it."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.web.conftest import Till, running_till
from tokentill.web import examples, problems
from tokentill.web.call import idempotency_key
from tokentill.web.gateway.endpoint import PATHS as ENDPOINT_PATHS
from tokentill.web.openapi import document
from tokentill.web.problems import Halt
from tokentill.web.routes import ROUTES

DOCUMENT: dict[str, Any] = json.loads(document(ROUTES))

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    ignored_auth,
    unsupported_method,
]


def validator(name: str) -> Any:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return jsonschema_rs.validator_for(schema)


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_stands_in_the_document_once() -> None:
    listed = {name: operation["operationId"] for name, operation in operations()}
    assert listed == {f"{route.method} {route.path}": route.name for route in ROUTES}
    assert len(set(listed.values())) == len(ROUTES)


def test_no_route_is_hidden_by_the_endpoint_for_models() -> None:
    # R-SALE-5: what customers' clients call is answered by the endpoint, whatever the method.
    assert not {route.path.encode() for route in ROUTES} & ENDPOINT_PATHS


def test_every_reference_leads_somewhere() -> None:
    names = set(DOCUMENT["components"]["schemas"])
    found = {part.split('"')[0] for part in json.dumps(DOCUMENT).split("#/components/schemas/")[1:]}
    assert found <= names
    for name in names:
        validator(name)


def test_every_status_a_refusal_can_have_is_told() -> None:
    # R-ABU-7
    for route in ROUTES:
        told = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
        for code in route.refusals:
            status = str(problems.STATUS[code])
            assert f"`{code}`" in told[status]["description"], (route.name, code)


@pytest.mark.parametrize(
    "key", ["a", "!~", "order 7, line 2", '"quoted"', "a" * 255, "a" * 256, "kö", "a\tb", ""]
)
def test_an_idempotency_key_is_what_the_document_says(key: str) -> None:
    # R-LED-9
    operation = dict(operations())["POST /v1/organizations/{org}/charges"]
    (schema,) = [each["schema"] for each in operation["parameters"] if each["name"] == "Idempotency-Key"]
    try:
        idempotency_key(key.encode("latin-1"))
    except Halt:
        accepted = False
    else:
        accepted = True
    assert jsonschema_rs.is_valid(schema, key) == accepted


def test_the_examples_are_true_to_their_schemas() -> None:
    used = 0
    for name, operation in operations():
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        parts = [
            body,
            *(part for r in operation["responses"].values() for part in r.get("content", {}).values()),
        ]
        for part in parts:
            if "example" in part:
                used += 1
                validator(part["schema"]["$ref"].rsplit("/", 1)[1]).validate(part["example"])
                assert name
    assert used >= len(examples.REQUESTS) + len(examples.REPLIES)
    assert set(examples.REQUESTS) | set(examples.REPLIES) <= {route.name for route in ROUTES}
    assert set(examples.PROBLEMS) <= set(problems.TITLES)


def test_the_document_says_nothing_of_our_own_bookkeeping() -> None:
    assert re.findall(r".{40}R-[A-Z]+-[0-9]", json.dumps(DOCUMENT)) == []


async def test_the_document_is_served(till: Till) -> None:
    async with till.client.get(f"{till.url}/openapi.json") as answer:
        assert await answer.json() == DOCUMENT


@pytest.fixture(scope="module")
def api() -> Iterator[Till]:
    """A till that runs in a thread of its own, for clients that wait."""
    begun: threading.Event = threading.Event()
    found: list[Any] = []

    async def run() -> None:
        async with running_till(":memory:") as till:
            stop = asyncio.Event()
            found.extend((till, asyncio.get_running_loop(), stop))
            begun.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert begun.wait(30)
    till, loop, stop = found
    yield till
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)


random_requests = schemathesis.openapi.from_dict(DOCUMENT)


def reaches_the_wire(value: Any) -> bool:
    """Whether anything is sent for a value of a query: not for an empty list, nor for one of empty lists."""
    if isinstance(value, dict):
        value = list(value.values())
    return any(map(reaches_the_wire, value)) if isinstance(value, list) else value is not None


def answer_is_as_told(case: Any, api: Till) -> None:
    if case.meta.generation.mode.is_positive:
        # Random names lead nowhere; what can be done should also happen.
        if "org" in (case.path_parameters or {}) and case.method != "DELETE":
            case.path_parameters["org"] = "acme"
        if isinstance(case.body, dict) and "feature" in case.body:
            case.body["feature"] = "generate_goal"
    checks = CHECKS
    if not all(map(reaches_the_wire, (case.query or {}).values())):
        # What is empty never reaches the wire, so what is wrong with it cannot be refused.
        checks = [check for check in CHECKS if check is not negative_data_rejection]
    case.call_and_validate(
        base_url=api.url, headers={"Authorization": f"Bearer {api.key}"}, checks=checks, timeout=10
    )


@random_requests.parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_requests_are_answered_as_the_document_says(case: Any, api: Till) -> None:
    answer_is_as_told(case, api)


@pytest.mark.nightly
@random_requests.parametrize()
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_thousand_random_requests_of_each_kind(case: Any, api: Till) -> None:
    answer_is_as_told(case, api)
