"""Customers' questions and what they say, over HTTP (R-PACK-7)."""

from tests.web.conftest import Till

ORG = "/v1/organizations/acme"


async def test_the_faq_is_that_of_the_organizations_plan(till: Till) -> None:  # R-PACK-7
    found = await till.done("GET", f"{ORG}/faq")
    assert found["monthly"].startswith("Your plan Pro brings 200 tokens in each period.")
    assert {"question": "What are additional tokens?", "answer": found["additional"]} in found["faq"]
    assert (await till.ask("GET", "/v1/organizations/nobody/faq")).code == "unknown_organization"
