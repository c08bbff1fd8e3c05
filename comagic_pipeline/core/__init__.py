"""Plain values that every layer uses. No I/O, no imports from other packages of the project."""
