"""What happens by itself: schedules, sensors, resumed loads, healing, recovery, alerts."""
