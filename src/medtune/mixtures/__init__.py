"""Mix the answers of several models: weights, and the evaluation of the mixture."""
