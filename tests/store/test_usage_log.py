"""The journal as S2 knows it: its three monitoring queries, word for word, on the view `ai_token_usage_log`."""

import time
from datetime import UTC, date, datetime

from tests.support.desk import preset
from tests.support.monitoring import BURN, FAILED, FRAUD
from tests.support.stores import Store, begin, charge, connect, new_key, no, ok
from tokentill.rules import commands as c

# R-FIN-3, R-LED-5

DAY = 86_400_000


async def test_the_daily_checks_run_as_they_are_written(postgres: Store) -> None:
    ledger = await postgres.open(catalog=preset("goals"))
    now = time.time_ns() // 1_000_000
    postgres.clock.time = now - 8 * DAY
    await begin(ledger, "acme", "beta", tokens=500)
    burned = [(postgres.clock.time, 0), (now - 60_000, 0)]
    for back in range(8, 0, -1):
        postgres.clock.time = now - back * DAY
        for name in ("acme", "beta")[: 1 + back % 2]:
            await charge(ledger, name, user="ann")
            burned.append((postgres.clock.time, 3))
    postgres.clock.time = now - 60_000
    # One that failed afterwards is given back; holds and grants deduct nothing.
    key = new_key()
    await charge(ledger, "acme", user="eve", key=key)
    await ok(ledger, "acme", c.Refund(operation=key))
    await ok(ledger, "acme", c.Reserve(feature="generate_goal", user="joe"))
    for attempt in range(5):
        postgres.clock.time += 3_000
        await no(ledger, "acme", c.Attempt(user="mallory", reason=f"nonsense {attempt}"))
    for _ in range(2):
        await no(ledger, "acme", c.Charge(feature="generate_goal", user="mallory"))
    await no(ledger, "acme", c.Charge(feature="generate_goal", user="ann", quantity=9))
    await ledger.close()

    connection = await connect(postgres)
    await connection.execute("set role tokentill_audit; set timezone to 'UTC'")
    burn = await connection.fetch(BURN)
    by_day: dict[date, int] = {}
    for when, tokens in burned:
        day = datetime.fromtimestamp(when / 1000, UTC).date()
        by_day[day] = by_day.get(day, 0) + tokens
    days = sorted(by_day.items(), reverse=True)
    assert [(row["date"], row["sum"]) for row in burn] == days[:7]
    fraud = await connection.fetchval(FRAUD)
    assert fraud >= 1
    assert fraud == await connection.fetchval("select count(*) from entry where status = 'fraud_flagged'")
    failed = await connection.fetch(FAILED)
    assert [(row["user_id"], row["count"]) for row in failed] == [("mallory", 5)]
    await connection.close()


async def test_a_flood_within_a_minute_is_found_as_the_query_is_written(postgres: Store) -> None:
    """Refusals beyond the first of a minute are one entry with a count; the query counts rows (R-ABU-7)."""
    ledger = await postgres.open(catalog=preset("goals"))
    postgres.clock.time = time.time_ns() // 1_000_000 - 600_000
    await begin(ledger, "acme", tokens=500)
    for user in ("mallory", "eve"):
        await charge(ledger, "acme", user=user)
    for user, many in (("mallory", 1_500), ("eve", 4), ("ann", 1)):
        for _ in range(many):
            await no(
                ledger, "acme", c.Charge(feature="generate_goal", user=user, quantity=1 if many > 1 else 9)
            )
    postgres.clock.time += 60_000
    await ledger.sweeper._count(postgres.clock.time)
    await ledger.close()

    connection = await connect(postgres)
    await connection.execute("set role tokentill_audit; set timezone to 'UTC'")
    stored = await connection.fetch("select kind, count(*) from entry where status = 'prevented' group by 1")
    assert [tuple(row) for row in stored] == [("refused", 5)]
    failed = await connection.fetch(FAILED)
    # The first of the minute, and at most a thousand of those that one entry counts.
    assert sorted((row["user_id"], row["count"]) for row in failed) == [("eve", 4), ("mallory", 1_001)]
    rows = await connection.fetch(
        "select metadata ->> 'kind' as kind, count(*) from ai_token_usage_log group by 1"
    )
    entries = await connection.fetch("select kind, count(*) from entry group by 1")
    shown, kept = dict(map(tuple, rows)), dict(map(tuple, entries))
    assert shown.pop("refused") == 1_001 + 4 + 1
    assert kept.pop("refused") == 5
    assert shown == kept, "an entry that counts nothing is one row"
    assert (await connection.fetch(BURN))[0]["sum"] == 6
    await connection.close()


async def test_what_a_row_of_the_log_says(postgres: Store) -> None:
    ledger = await postgres.open()
    await begin(ledger, "acme")
    key = new_key()
    await charge(ledger, "acme", user="ann", key=key)
    await charge(ledger, "acme", user="bob")
    await ok(ledger, "acme", c.Adjust(tokens=-4, reason="a gift returned", actor="op"))
    await ledger.forget_user("acme", "bob")
    connection = await connect(postgres)
    await connection.execute("set role tokentill_audit")
    rows = await connection.fetch(
        "select *, metadata ->> 'status' as status, metadata ->> 'kind' as kind, details ->> 'reason' as reason "
        "from ai_token_usage_log where organization_id = 'acme' order by (metadata ->> 'sequence')::int"
    )
    await connection.close()
    first, second, third = rows[4:]
    assert (first["user_id"], first["feature"], first["tokens_deducted"]) == ("ann", "generate_goal", 3)
    assert (first["balance_after"], first["status"], first["kind"]) == (197, "done", "charge")
    assert first["created_at"].timestamp() * 1000 == postgres.clock.time
    assert second["user_id"] == ledger.opaque("acme", "bob"), "a name that was erased is erased here too"
    assert (third["tokens_deducted"], third["balance_after"], third["reason"]) == (0, 190, "a gift returned")
