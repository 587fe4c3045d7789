"""The report of what was charged against what upstreams reported, over real calls (R-SALE-5, R-LED-5)."""

from msgspec.structs import replace

from tests.support.gateways import Gateway
from tokentill.flows.reconcile import reconcile
from tokentill.rules import commands as c
from tokentill.rules.reconciling import Reconciliation
from tokentill.rules.refusals import Refusal
from tokentill.web.gateway.metrics import KEYS_MAX, OTHER, CallMetrics

TOKENS = 100_000
FAR = 4_000_000_000_000


async def report_of(gateway: Gateway, organization: str | None = "acme") -> Reconciliation:
    newest = (await gateway.account()).state.time
    found = await reconcile(gateway.ledger, newest - 3_600_000, newest + 1, organization)
    assert isinstance(found, Reconciliation), found
    return found


async def test_every_call_is_in_the_report_and_every_difference_has_a_name(gateway: Gateway) -> None:
    gateway.lab.obeys = False
    other = await gateway.open(1_000, "beta")
    for stream in (False, True):
        for script in ("answer=7", "usage=zero", "usage=none", "answer=900", "usage=huge", "do=cut answer=9"):
            await gateway.chat(script, stream=stream)
        await gateway.chat("answer=3", model="fixed", key=other, stream=stream)
        await gateway.chat("answer=3", model="lost", stream=stream)
    headers = {"authorization": f"Bearer {gateway.key}"}
    body = {"model": "big", "messages": [{"role": "user", "content": "answer=40 pace=0.05"}], "stream": True}
    async with gateway.client.post(
        f"{gateway.url}/v1/chat/completions", json=body, headers=headers
    ) as answer:
        for _ in range(3):
            await answer.content.readuntil(b"\n\n")
        answer.close()
    spent = await gateway.spent(TOKENS)
    report = await report_of(gateway)
    total = report.total
    assert report.fits
    assert total.charged == spent
    # 12 calls of the first model, 2 of one that nobody answers, and one whose client went away
    assert total.calls == 15
    assert {line.model for line in report.lines} == {"big", "lost"}
    assert total.estimated_calls >= 2
    assert total.cut_calls == 3
    assert total.delivered_calls == 1
    # The upstream claimed a thousand million tokens, twice; charged was what was held.
    assert total.beyond_hold > 10**9
    assert total.failed > 0
    assert {line.upstream for line in report.lines} == {"lab", ""}
    both = await report_of(gateway, None)
    assert {line.organization for line in both.lines} == {"acme", "beta"}
    assert both.total.charged == spent + 20


async def test_what_a_line_says_is_what_the_upstream_reported(gateway: Gateway) -> None:
    for answer in (3, 4):
        await gateway.chat(f"answer={answer}")
    [line] = (await report_of(gateway)).lines
    [key] = await gateway.fit.keys.list("acme") or ()
    assert (line.organization, line.model, line.upstream, line.key) == ("acme", "big", "lab", key.id)
    assert (line.calls, line.read, line.written, line.cost, line.charged) == (2, 2, 7, 9, 9)


async def test_a_charge_given_back_stays_in_the_report(gateway: Gateway) -> None:
    # R-LED-7
    reply = await gateway.chat("answer=3")
    await gateway.charging.submit(c.Envelope("acme", c.Refund(operation=str(reply.receipt["operation"]))))
    total = (await report_of(gateway)).total
    assert (total.calls, total.charged, total.refunded) == (1, 4, 4)


async def test_what_cannot_be_reported_is_refused(gateway: Gateway) -> None:
    assert isinstance(await reconcile(gateway.ledger, 10, 5), Refusal)
    assert isinstance(await reconcile(gateway.ledger, 0, FAR), Refusal)
    unknown = await reconcile(gateway.ledger, 0, 5, "nobody")
    assert isinstance(unknown, Refusal)
    assert unknown.code == "unknown_organization"


async def test_metrics_tell_calls_by_model_and_by_key(gateway: Gateway) -> None:
    # R-PLAT-3
    await gateway.chat("answer=3")
    await gateway.chat("do=error:500")
    [key] = await gateway.fit.keys.list("acme") or ()
    text = gateway.app.site.telemetry.text().decode()
    assert 'tokentill_model_calls_total{model="big",outcome="reported"} 1.0' in text
    assert 'tokentill_model_calls_total{model="big",outcome="upstream_failed"} 1.0' in text
    assert 'tokentill_model_tokens_charged_total{model="big"} 4.0' in text
    assert f'tokentill_key_calls_total{{key="{key.id}",organization="acme"}} 2.0' in text
    assert f'tokentill_key_tokens_charged_total{{key="{key.id}",organization="acme"}} 4.0' in text


async def test_metrics_of_many_keys_stay_few(gateway: Gateway) -> None:
    # R-PLAT-3: more keys than have a series of their own are counted together, and none is lost.
    metrics = CallMetrics()
    [key] = await gateway.fit.keys.list("acme") or ()
    for number in range(KEYS_MAX + 50):
        metrics.called(replace(key, id=f"k{number}"), "big", "reported", 2, 0)
    [calls] = [metric for metric in metrics.collect() if metric.name == "tokentill_key_calls"]
    assert len(calls.samples) == KEYS_MAX + 1
    counts = {(one.labels["organization"], one.labels["key"]): one.value for one in calls.samples}
    assert counts[OTHER] == 50
    assert sum(counts.values()) == KEYS_MAX + 50
