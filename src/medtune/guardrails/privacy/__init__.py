"""Find and redact personal identifiers."""
