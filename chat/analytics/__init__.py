"""Metrics of a tenant over a period: counted from messages, stored in roll-ups.

- `periods`: the spans of time that a request covers
- `counting`: metrics counted from messages and sessions
- `metrics`: metrics that can be added up and stored
- `models`, `rollup_store`: the stored documents
- `rollups`, `calendar_rollups`: metrics per quarter hour, and per day, week and month
- `reader`: the metrics of a period, from as few documents as possible
- `deletion`: deletes messages and keeps their metrics
- `serializers`, `analytics_data`, `views`: the endpoint
"""
