"""Results as they are shown in a notebook, and as data frames."""
