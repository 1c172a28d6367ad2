"""Periodic background jobs (`settings.JOBS`)."""
