"""API keys, sessions and form tokens."""
