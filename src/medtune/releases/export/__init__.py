"""What a release is shown by: cards, a bill of materials, an entry in MLflow; all from records."""
