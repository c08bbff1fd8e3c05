"""Asset checks: what a user looks at to know that all is well, a module for each."""
