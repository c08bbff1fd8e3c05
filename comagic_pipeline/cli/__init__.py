"""The command line: `main` declares the commands, a module for each says what it does."""
