"""Fine-tune small language models on medical questions, and examine them honestly."""
