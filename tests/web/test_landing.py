"""Where a customer lands after paying: how the purchase stands, in words (R-PACK-2, R-PACK-3, R-PACK-10)."""

from typing import get_args

import pytest

from tests.web.conftest import Till
from tests.web.test_checkout import DISPUTED, ORG, PAYS, look, ordered, press
from tokentill.rules.purchases import State
from tokentill.web.landing import TEXTS


async def landing(till: Till) -> str:
    [purchase] = (await till.done("GET", f"{ORG}/purchases"))["purchases"]
    return (await look(till, f"{till.url}/account/purchases/{purchase['id']}")).words


@pytest.mark.parametrize(
    ("card", "says"),
    [
        (None, "has not arrived yet"),
        (PAYS, "is in your account"),
        (DISPUTED, "Your bank disputes this payment"),
    ],
)
async def test_it_says_how_the_purchase_stands(till: Till, card: str | None, says: str) -> None:
    # R-PACK-3, R-PACK-10
    url = await ordered(till)
    if card is not None:
        await press(till, url, do="pay", card=card)
    words = await landing(till)
    assert says in words
    assert "500 tokens $29.00" in words
    assert ("Go on to pay" in words) == (card is None)
    assert "Additional tokens are those that you bought" in words  # R-PACK-7


async def test_the_checkout_says_nothing_that_a_dispute_made_untrue(till: Till) -> None:
    # R-REF-6
    url = await ordered(till)
    await press(till, url, do="pay", card=DISPUTED)
    assert "What was bought is in the account" not in (await look(till, url)).words
    lost = await press(till, url, do="lost")
    assert "went back to the customer" in lost.words
    assert "What was bought is in the account" not in lost.words


def test_every_state_has_its_words() -> None:
    # R-PACK-2
    assert set(TEXTS) == set(get_args(State))


async def test_a_person_reads_a_page_and_a_program_a_problem_where_nothing_is(till: Till) -> None:
    for path in ("/account/purchases/nothing", f"/account/purchases/{'a' * 300}", "/account/nothing"):
        async with till.client.get(till.url + path, headers={"accept": "text/html,*/*"}) as answer:
            assert (answer.status, answer.content_type) == (404, "text/html")
            assert "There is no page at this address" in await answer.text()
        assert (await till.ask("GET", path)).code == "not_found"
