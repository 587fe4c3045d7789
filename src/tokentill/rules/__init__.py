"""The business rules: pure functions of values, with no clock, no chance and no I/O."""
