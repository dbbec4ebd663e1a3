"""Records that several packages read and write."""
