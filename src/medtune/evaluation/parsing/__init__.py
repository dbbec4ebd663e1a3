"""Parse free answers into options."""
