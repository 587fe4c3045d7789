"""Ratings and tickets, counted by month (R-FIN-4)."""

from tokentill.rules.feedback import MonthOfFeedback, summary, tally_of


def test_each_month_is_counted() -> None:  # R-FIN-4
    counts = {
        tally_of("2026-03", "rating", 5): 2,
        tally_of("2026-03", "rating", 4): 1,
        tally_of("2026-03", "ticket", "tokens"): 3,
        tally_of("2026-03", "ticket", "other"): 1,
        tally_of("2026-04", "ticket", "payment"): 1,
    }
    assert summary(counts) == (
        MonthOfFeedback(month="2026-04", ratings=0, average=None, tickets={"payment": 1}),
        MonthOfFeedback(month="2026-03", ratings=3, average="4.67", tickets={"other": 1, "tokens": 3}),
    )
    assert summary({}) == ()
