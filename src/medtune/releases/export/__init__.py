"""Export a release: cards, a bill of materials and an MLflow entry, all from its records."""
