"""What an operator does about sales, over HTTP: codes, switches, alerts, contacts, endpoints, messages, events."""

from tests.web.conftest import START, Till
from tokentill.rules.rows import Message

ORG = "/v1/organizations/acme"
CARD = "4242424242424242"


async def test_codes_are_shown_once_and_redeemed_once(each_till: Till) -> None:
    # R-PACK-8
    till = each_till
    order = {"batch": "spring fair", "tokens": 40, "count": 2, "title": "A gift"}
    made = await till.done("POST", "/v1/codes", order, key="fair")
    assert len(made["codes"]) == 2
    assert (await till.done("POST", "/v1/codes", order, key="fair")) == made
    other = await till.ask("POST", "/v1/codes", {**order, "tokens": 41}, key="fair")
    assert (other.status, other.code) == (422, "key_reused")
    listed = await till.ask("GET", "/v1/codes?batch=spring%20fair")
    assert {one["shown"] for one in listed.json["codes"]} == {code[-4:] for code in made["codes"]}
    assert not any(code.encode() in listed.raw for code in made["codes"])
    got = await till.done("POST", f"{ORG}/codes/redeem", {"code": made["codes"][0].lower()})
    assert (got["kind"], got["state"], got["amount"]) == ("code", "delivered", 0)
    assert (await till.done("GET", f"{ORG}/balance"))["remaining"] == 240
    await till.done("POST", f"{ORG}/codes/redeem", {"code": made["codes"][0]})
    assert (await till.done("GET", f"{ORG}/balance"))["remaining"] == 240
    [free] = [one for one in listed.json["codes"] if one["shown"] == made["codes"][1][-4:]]
    assert (await till.done("DELETE", f"/v1/codes/{free['id']}"))["revoked"] is True
    gone = await till.ask("POST", f"{ORG}/codes/redeem", {"code": made["codes"][1]})
    assert (gone.status, gone.code) == (409, "code_invalid")
    assert (await till.ask("DELETE", "/v1/codes/nothing")).code == "code_invalid"


async def test_a_switch_stops_sales_at_once(each_till: Till) -> None:
    # R-PACK-9
    till = each_till
    every = (await till.done("GET", "/v1/switches"))["switches"]
    assert [(one["switch"], one["on"]) for one in every] == [
        ("packs", True), ("plans", True), ("topups", True), ("pack:token_pack_500", True),
        ("pack:token_pack_2000", True),
    ]  # fmt: skip
    off = await till.done("PUT", "/v1/switches", {"switch": "packs", "on": False, "reason": "a wrong price"})
    assert (off["on"], off["actor"], off["at"]) == (False, "backend", START)
    assert (await till.ask("POST", f"{ORG}/purchases", {"pack": "token_pack_500"})).code == "packs_off"
    await till.done("PUT", "/v1/switches", {"switch": "packs", "on": True, "reason": "mended"})
    assert (await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500"}))["state"] == "pending"
    unknown = await till.ask("PUT", "/v1/switches", {"switch": "lights", "on": False, "reason": "x"})
    assert (unknown.status, unknown.code) == (422, "invalid_request")
    assert "packs, plans, topups" in unknown.json["detail"]


async def test_an_alert_is_seen_by_the_first_who_says_so(each_till: Till) -> None:
    # R-PACK-4
    till = each_till
    await till.shop.means.alert("Zoë & sons", "dead_event", "Zoë/1", "Look at this.")
    [alert] = (await till.done("GET", "/v1/alerts"))["alerts"]
    assert (alert["id"], alert["text"], alert["seen_at"]) == ("dead_event:Zoë/1", "Look at this.", None)
    path = "/v1/alerts/dead_event:Zo%C3%AB%2F1/seen"
    assert (await till.done("POST", path))["seen_by"] == "backend"
    assert (await till.done("GET", "/v1/alerts"))["alerts"] == []
    assert len((await till.done("GET", "/v1/alerts?seen=1"))["alerts"]) == 1
    assert (await till.ask("POST", "/v1/alerts/none/seen")).code == "not_possible"


async def test_where_an_organization_gets_its_mail(each_till: Till) -> None:
    # R-PLAN-8
    till = each_till
    assert await till.done("GET", f"{ORG}/contact") == {"email": None, "name": "", "quiet": []}
    body = {"email": "ann@acme.example", "name": "Ann", "quiet": ["balance.low"]}
    assert await till.done("PUT", f"{ORG}/contact", body) == body
    bad = await till.ask("PUT", f"{ORG}/contact", {"email": "ann at acme"})
    assert (bad.status, bad.json["field"]) == (422, "email")
    assert await till.done("DELETE", f"{ORG}/contact") == {"removed": True}
    assert await till.done("DELETE", f"{ORG}/contact") == {"removed": False}
    assert (await till.ask("GET", "/v1/organizations/nobody/contact")).code == "unknown_organization"


async def test_an_endpoint_shows_its_secret_once(each_till: Till) -> None:
    # R-PLAN-8
    till = each_till
    for path in ("/v1/webhook-endpoints", f"{ORG}/webhook-endpoints"):
        body = {"url": "https://hooks.example.com/in", "events": ["balance.low"]}
        made = await till.done("POST", path, body, key="hook")
        assert made["secret"].startswith("whsec_")
        assert await till.done("POST", path, body, key="hook") == made
        listed = await till.ask("GET", path)
        assert [one["id"] for one in listed.json["endpoints"]] == [made["id"]]
        assert made["secret"].encode() not in listed.raw
        private = await till.ask("POST", path, {"url": "https://127.0.0.1/"})
        assert (private.status, private.json["field"]) == (422, "url")
        unknown = await till.ask("POST", path, {**body, "events": ["weather"]})
        assert unknown.json["field"] == "events"
        assert await till.done("DELETE", f"{path}/{made['id']}") == {"removed": True}
        assert (await till.done("GET", path))["endpoints"] == []


async def test_a_message_that_was_given_up_is_sent_again_by_hand(each_till: Till) -> None:
    # R-PLAN-8
    till = each_till
    lost = Message(
        id="Zoë:3:mail", organization="Zoë", channel="mail", to="zoe@example.com", type="balance.low", body="{}",
        state="dead", tries=10, problem="No answer.",
    )  # fmt: skip
    await till.shop.means.rows.add(lost)
    [listed] = (await till.done("GET", "/v1/operator-messages"))["messages"]
    assert (listed["id"], listed["problem"]) == ("Zoë:3:mail", "No answer.")
    assert not {"body", "to"} & set(listed)
    again = await till.done("POST", "/v1/operator-messages/Zo%C3%AB:3:mail/send")
    assert (again["state"], again["tries"]) == ("pending", 0)
    assert (await till.ask("POST", "/v1/operator-messages/none/send")).code == "not_possible"


async def test_events_of_providers_are_listed_without_their_bodies(till: Till) -> None:
    # R-PLAT-3
    order = await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500"})
    await till.press(order["url"], do="pay", card=CARD)
    found = (await till.done("GET", "/v1/events?state=done"))["events"]
    assert {one["provider"] for one in found} == {"embedded"}
    assert "body" not in found[0]
    assert (await till.done("GET", "/v1/events"))["events"] == []


async def test_an_event_that_was_given_up_is_tried_again_by_hand_and_adds_nothing_twice(till: Till) -> None:
    # R-PACK-3
    order = await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500"})
    await till.press(order["url"], do="pay", card=CARD)
    [known] = (await till.done("GET", "/v1/events?state=done"))["events"]
    again = await till.done("POST", f"/v1/events/{known['id']}/retry")
    assert (again["state"], again["tries"]) == ("new", 0)
    before = (await till.done("GET", ORG))["balance"]["remaining"]
    await till.shop.clerk.once()
    assert [one["id"] for one in (await till.done("GET", "/v1/events?state=done"))["events"]] == [known["id"]]
    assert (await till.done("GET", ORG))["balance"]["remaining"] == before
    assert (await till.ask("POST", "/v1/events/none/retry")).code == "not_possible"


async def test_a_webhook_is_taken_in_over_http(till: Till) -> None:
    # R-PACK-3
    wrong = await till.ask("POST", "/v1/webhooks/embedded", {"id": "x"})
    assert (wrong.status, wrong.code) == (400, "bad_signature")
    none = await till.ask("POST", "/v1/webhooks/cash", {"id": "x"})
    assert (none.status, none.code) == (404, "unknown_provider")
