"""HTTP: the API, the gateway, customer and operator pages, and webhooks in."""
