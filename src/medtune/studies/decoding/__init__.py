"""Compare ways to decode an answer: cost and accuracy."""
