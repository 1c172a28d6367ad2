"""A fake provider: it speaks every wire format over real sockets and fails on demand.

`server.FakeProvider` runs it in a thread, `manage.py fake_provider` as a process.
"""
