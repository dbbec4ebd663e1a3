"""What stands between a question and an answer: rules, a classifier, privacy, one policy."""
