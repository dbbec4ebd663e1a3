"""Read questions from files, the Hub and the starter set."""
