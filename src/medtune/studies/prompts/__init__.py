"""Choose a prompt on validation questions."""
