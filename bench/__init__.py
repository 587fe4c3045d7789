"""Benchmarks that print ratios: each compares the till with something bare, in one run on one machine."""
