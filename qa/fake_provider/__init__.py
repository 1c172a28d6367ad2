"""A provider that is none: it speaks every wire over real sockets and fails on demand.

`server.FakeProvider` runs it in a thread, `manage.py fake_provider` as a process.
"""
