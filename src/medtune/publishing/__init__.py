"""Export evaluations and comparisons for papers, leaderboards and other programs."""
