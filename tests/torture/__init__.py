"""Storms: real workers are killed and stopped under load, their database too, and every promise is checked."""
