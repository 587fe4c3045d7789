"""tokentill: a self-hosted till for AI tokens."""

__version__ = "0.1.0.dev0"
