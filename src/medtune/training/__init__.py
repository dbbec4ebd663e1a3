"""The fine-tune."""
