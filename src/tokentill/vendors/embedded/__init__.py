"""The embedded provider: to try the whole shop without an account at any provider (R-PLAT-1)."""
