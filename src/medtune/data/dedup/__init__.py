"""Find duplicates, and remove training questions that leak an evaluated one."""
