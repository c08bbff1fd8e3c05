"""Jobs: what an operator runs, a module for each kind."""
