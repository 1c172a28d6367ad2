"""What happened in a tenant over a period: figures counted from messages, kept in roll-ups.

- `periods`: which stretches of time are asked for
- `counting`: figures straight from messages and sessions
- `figures`: figures that can be added up and stored
- `models`, `rollups`, `calendars`, `stored`: figures kept per quarter hour, day, week and month
- `reading`: a period's figures from the fewest documents
- `removal`: messages go, their figures stay
- `serializers`, `views`: the endpoint
"""
