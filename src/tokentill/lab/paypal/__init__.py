"""A PayPal on this machine: a stateful server that speaks PayPal's wire, for tests and for trying the shop."""
