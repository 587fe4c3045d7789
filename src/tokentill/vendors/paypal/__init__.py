"""PayPal: checkouts by Orders v2, refunds, disputes, and webhooks that are verified offline."""
