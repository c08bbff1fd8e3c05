"""Tables of custom reports: as JSON, or with a structure that the user fixes."""
