"""What several recipes do in the same way, composed from the rooms."""
