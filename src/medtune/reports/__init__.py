"""Static HTML reports and their figures."""
