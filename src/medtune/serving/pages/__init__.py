"""HTML pages of the endpoint."""
