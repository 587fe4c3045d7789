"""The endpoint for model calls, in the form of OpenAI's and of Anthropic's API."""
