"""Points of the Data API: what loads will cost, what schedules need, what all processes share."""
