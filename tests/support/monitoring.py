"""The three monitoring queries of S2, word for word (R-FIN-3)."""

BURN = """
SELECT DATE(created_at), SUM(tokens_deducted) 
FROM ai_token_usage_log
GROUP BY DATE(created_at) ORDER BY DATE DESC LIMIT 7;
"""  # noqa: W291 -- word for word

FRAUD = """
SELECT COUNT(*) FROM ai_token_usage_log 
WHERE metadata->>'status' = 'fraud_flagged' AND created_at > now() - interval '1 day';
"""  # noqa: W291 -- word for word

FAILED = """
SELECT user_id, COUNT(*) 
FROM ai_token_usage_log
WHERE metadata->>'status' IN ('prevented', 'failed')
AND created_at > now() - interval '1 hour'
GROUP BY user_id HAVING COUNT(*) > 3;
"""  # noqa: W291 -- word for word
