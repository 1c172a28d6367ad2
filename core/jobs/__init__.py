"""Commands that run again and again without anybody waiting for them (`settings.JOBS`)."""
