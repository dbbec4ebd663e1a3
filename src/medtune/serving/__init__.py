"""The HTTP endpoint: inference, API, review pages, storage and monitoring."""
