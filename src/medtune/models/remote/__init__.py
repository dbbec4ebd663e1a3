"""Score options and generate answers over an OpenAI-compatible API."""
