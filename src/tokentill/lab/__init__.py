"""The policy lab: simulated or replayed customers over the real rules."""
