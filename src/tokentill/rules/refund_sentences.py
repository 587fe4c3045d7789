"""The sentences of refunds that customers read, as `[refunds.texts]` of a catalog may say them in its own language.

A place in braces is filled with a figure. The places of a default are those of its text in any language: none but
these, and all of these, so that a quote names its figures whatever language it speaks (R-REF-5). The order of what can
be chosen is no matter of texts: the money stands first (R-REF-4). `tokentill.rules.refund_texts` fills them.

Requirement ids: R-REF-4, R-REF-5.
"""

from __future__ import annotations

from msgspec import Struct


class RefundTexts(Struct, frozen=True, kw_only=True):
    """A sentence a field. Amounts carry their currency; `span` is a length of time made of the last eight."""

    # The arithmetic, by the name of its step.
    usage: str = "{used} of {bought} tokens were used ({share} %): {percent} % is the base."
    technical: str = "The reason is a technical problem: times {percent} %."
    quality: str = "The reason is the quality of the answers: times {percent} %."
    unused: str = "The reason is tokens that are not needed: times {percent} %."
    first_time: str = "It was a first purchase: times {percent} %."
    customer: str = "More than {amount} was spent here before: times {percent} %."
    early: str = "The payment was within {span}: times {percent} %."
    late: str = "The payment was more than {span} ago: times {percent} %."
    clamp: str = "Never more than the whole price: 100 %."
    unused_share: str = "Never more than the unused share: {unused} of {bought} tokens."
    guarantee: str = "The guarantee gives at least {percent} % within {span}, once, no questions asked."
    withdrawal: str = "The right of withdrawal gives at least the unused share: {unused} of {bought} tokens."
    waived: str = "The right of withdrawal was given up at the purchase."
    refunded_before: str = "{amount} was given back before, which leaves {rest}."
    payable: str = "Rounded up to {amount}, the next amount that can be paid."
    total: str = "That is {rate} % of {price}: {amount}."
    """Told after the steps of the rate, and before what is done with the amount."""

    # What can be chosen, and what goes with it.
    cash: str = "Get {money} back to where it came from."
    cash_as_credit: str = "Get {credit} back as credit."
    cash_and_credit: str = "Get {money} back to where it came from and {credit} back as credit."
    no_cash: str = "No money can be given back for this now."
    bonus: str = "Keep your {left} unspent tokens and get {tokens} more. The purchase is then settled."
    credit: str = "Get {credit} as credit for later purchases and renewals; it never expires."
    upgrade: str = "Turn it into {title} for {pay} more. What you have used counts: {tokens} tokens are left."
    tokens_go: str = "Your {left} unspent tokens go."
    plan_ends: str = "Your plan ends at once, and nothing more is charged for it. Tokens of packs stay yours."

    # Why nothing can be given back.
    settled: str = "This purchase has been settled already."
    refunded: str = "This purchase has been given back in full already."
    counted: str = "What was unused of this period was counted toward your upgrade. Ask for that one instead."
    carried: str = "What was unused of this period was carried into the next one. Ask for that one instead."
    too_late: str = "Refunds can be asked for within {days} days of the payment."
    not_first: str = "This reason holds for a first purchase only. Choose the one that fits."
    no_tokens: str = "This purchase brought no tokens that could be taken back. Write to us instead."
    free: str = "Nothing was paid for this, so there is nothing to give back."
    replaced: str = "This pack was turned into a larger one. Ask for that purchase instead: {purchase}."
    not_here: str = "Refunds are not asked for here. Write to us instead."
    used_beyond: str = (
        "A bill for use beyond the plan is for tokens that were used. Write to us if it is wrong."
    )
    plans_kept: str = (
        "Plans are not given back here. Cancel the plan: it ends with its period, and nothing more is charged. "
        "Or write to us."
    )
    unpaid: str = "This purchase was not paid, so there is nothing to give back."
    no_money: str = (
        "No money can be given back for this now, so nothing was taken. Choose something else, or nothing."
    )
    not_offered: str = "This quote does not offer that."
    chosen: str = "Something else was chosen of this quote already."
    under_way: str = "This refund can be withdrawn no more."

    # Reasons that the till sees by itself.
    one_failed: str = "1 operation has failed since the purchase."
    some_failed: str = "{count} operations have failed since the purchase."
    hardly_used: str = "{used} of {bought} tokens were used."
    was_first: str = "It was the first purchase."

    # The page of a purchase: what is asked, what can be pressed, and how a refund stands.
    why: str = "Why"
    why_nothing: str = "I give no reason"
    why_technical: str = "Something did not work"
    why_quality: str = "The answers are not good enough"
    why_unused: str = "I do not need the tokens"
    why_first_time: str = "It was my first purchase, and not what I expected"
    ask: str = "See what you get back"
    take_cash: str = "Get the money back"
    take_credit: str = "Take the credit"
    take_bonus: str = "Keep the tokens and take the bonus"
    going_on: str = "It is being carried out."
    is_settled: str = "It is done. What you chose is yours; money may take your bank a few days."
    is_denied: str = "A person has looked at it and said no."
    is_failed: str = "It could not be carried out, and nothing was taken. Try again."
    is_withdrawn: str = "It was withdrawn."
    is_changed: str = "Something has changed meanwhile. Ask again."

    # Letters: their subjects, what they say, and the names of their figures.
    mail_waiting: str = "Your refund is being looked at"
    mail_settled: str = "Your refund is on its way"
    mail_money: str = "The money goes back to where it came from. Your bank may take some days to show it."
    mail_credit: str = "The credit in your account never expires and pays for later purchases and renewals."
    mail_tokens_went: str = "Tokens of the purchase that were unspent are gone."
    mail_plan_ended: str = "Your plan has ended with it, and nothing more is charged for it."
    mail_why: str = "Why this amount: {reason}"
    mail_bonus: str = "Your bonus tokens are here"
    mail_bonus_came: str = "{tokens} more are in your account. The purchase is settled with that."
    mail_upgrade: str = "Your larger pack is here"
    mail_upgrade_came: str = (
        "Your purchase is now {title}. What you had used counts, and the rest is in your account."
    )
    mail_denied: str = "Your refund was not granted"
    mail_denied_why: str = "Your refund was not granted. The reason: {reason}"
    mail_kept: str = "Nothing was taken: your tokens can be used again."
    mail_failed: str = "Your refund could not be carried out"
    mail_failed_kept: str = (
        "Your refund could not be carried out, and nothing was taken: your tokens can be used again."
    )
    mail_again: str = "Ask for it again, or write to us."
    mail_taken: str = "Unspent tokens of a purchase were taken back"
    mail_taken_refund: str = "A purchase was refunded, so {tokens} of it that were unspent are gone."
    mail_taken_dispute: str = (
        "A purchase was charged back by your bank, so {tokens} of it that were unspent are gone."
    )
    figure_purchase: str = "Purchase"
    figure_money: str = "Paid back"
    figure_credit: str = "Credit"

    # Beside the waiver of the right of withdrawal.
    waiver_free: str = (
        "You need not tick this. Your tokens come at once either way, "
        "and unticked you keep the right of withdrawal."
    )
    waiver_needed: str = "Without this nothing is bought here. Tick it only if you agree."

    # Lengths of time.
    day: str = "1 day"
    days: str = "{count} days"
    hour: str = "1 hour"
    hours: str = "{count} hours"
    minute: str = "1 minute"
    minutes: str = "{count} minutes"
    second: str = "1 second"
    seconds: str = "{count} seconds"
