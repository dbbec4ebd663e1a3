"""Guards between question and answer: rules, a classifier, redaction and a policy."""
