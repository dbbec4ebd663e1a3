"""The endpoint: what it keeps, what people review, and what it shows."""
