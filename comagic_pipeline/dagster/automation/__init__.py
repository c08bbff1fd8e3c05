"""Automation: schedules, sensors, resumed loads, self-healing, recovery, alerts."""
