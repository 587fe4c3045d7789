"""Adapters to payment providers, upstream models, mail and messengers."""
