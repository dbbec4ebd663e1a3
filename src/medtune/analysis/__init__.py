"""From predictions to statements."""
