"""Callers and records that do their worst: one test for each kind of attack of docs/security.md."""
