"""Reading free text."""
