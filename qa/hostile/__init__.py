"""Tests of the whole product against callers, providers and records that do their worst."""
