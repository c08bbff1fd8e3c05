"""Jobs that an operator runs. A module for each kind."""
