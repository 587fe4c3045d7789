"""Customers' questions and what they say, over HTTP (R-PACK-7, R-FIN-4), and what a month has left (R-FIN-1)."""

import pytest

from tests.web.conftest import Till

ORG = "/v1/organizations/acme"


async def test_the_faq_is_that_of_the_organizations_plan(till: Till) -> None:  # R-PACK-7
    found = await till.done("GET", f"{ORG}/faq")
    assert found["monthly"].startswith("Your plan Pro brings 200 tokens in each period.")
    assert {"question": "What are additional tokens?", "answer": found["additional"]} in found["faq"]
    assert (await till.ask("GET", "/v1/organizations/nobody/faq")).code == "unknown_organization"


async def test_what_customers_say(each_till: Till) -> None:  # R-FIN-4
    till = each_till
    order = await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500"})
    rating = {"score": 4, "text": "Quick.\nThanks.", "purchase": order["id"]}
    first = await till.ask("POST", f"{ORG}/ratings", rating, key="said")
    assert (first.status, first.json["score"], first.json["topic"]) == (201, 4, None)
    assert (await till.ask("POST", f"{ORG}/ratings", rating, key="said")).json == first.json
    assert (await till.ask("POST", f"{ORG}/ratings", {"score": 5}, key="said")).code == "key_reused"
    await till.done("POST", f"{ORG}/tickets", {"topic": "tokens"})
    assert (await till.done("GET", "/v1/feedback/months"))["months"] == [
        {"month": "2026-01", "ratings": 1, "average": "4.00", "tickets": {"tokens": 1}}
    ]
    listed = await till.done("GET", "/v1/feedback?what=ticket")
    assert [(one["topic"], one["organization"]) for one in listed["feedback"]] == [("tokens", "acme")]
    page = await till.done("GET", "/v1/feedback?limit=1")
    assert (await till.done("GET", f"/v1/feedback?limit=1&before={page['next']}"))["feedback"] == []


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("ratings", {"score": 0}, "invalid_request"),
        ("ratings", {"score": 6}, "invalid_request"),
        ("ratings", {"score": 5, "text": "x" * 201}, "invalid_request"),
        ("ratings", {"score": 5, "text": "\0"}, "invalid_request"),
        ("ratings", {"score": 5, "purchase": "nothing"}, "unknown_purchase"),
        ("tickets", {"topic": "weather"}, "invalid_request"),
        ("tickets", {}, "invalid_request"),
    ],
)
async def test_what_is_no_rating_and_no_ticket(
    till: Till, path: str, body: object, code: str
) -> None:  # R-FIN-4
    assert (await till.ask("POST", f"{ORG}/{path}", body)).code == code
    assert (await till.done("GET", "/v1/feedback/months"))["months"] == []


async def test_the_margin_of_a_month(each_till: Till) -> None:  # R-FIN-1
    till = each_till
    await till.done("POST", f"{ORG}/charges", {"feature": "generate_goal", "user": "u1"})
    found = await till.done("GET", "/v1/margin")
    assert (found["month"], found["closed"], found["organizations"]) == ("2026-01", False, 1)
    assert [(line["item"], line["tokens"], line["cost"]) for line in found["lines"]] == [("pro", 3, 3)]
    assert (await till.done("GET", "/v1/margin?month=2026-01&organization=acme"))["lines"] == found["lines"]
    for query, code in (
        ("month=2026-1", "invalid_request"),
        ("month=2027-01", "invalid_request"),
        ("organization=nobody", "unknown_organization"),
    ):
        assert (await till.ask("GET", f"/v1/margin?{query}")).code == code
