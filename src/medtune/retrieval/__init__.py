"""Text search over passages: training questions with their answers, or a user's own texts."""
