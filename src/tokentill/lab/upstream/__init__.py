"""A model upstream of our own, for tests and benchmarks: speaks as OpenAI and Anthropic do, misbehaves on demand."""
