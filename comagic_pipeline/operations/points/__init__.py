"""Points of the API: what loads cost, what schedules need, what processes share."""
