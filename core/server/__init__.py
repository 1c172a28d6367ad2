"""Serving a WSGI application in threads, behind granian's event loop.

    granian (Rust)   connections, HTTP/1.1 parsing, time limit of headers
      │  RSGI        https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md
    adapter          one request: body, slot, thread, response
      ├─ bodies      reads a whole body on the event loop, within limits of time and memory
      ├─ slots       admits requests to threads, in turn by client and credential
      ├─ environ     the WSGI environment of a request
      ├─ threads     threads that run the application
      └─ listeners   a time limit for clients that do not read

A connection that is idle or slow costs no thread: a request gets one when its body is complete. A thread
that waits for something slow, such as a provider, gives up its slot (`slots.release_current`) so that the
next request can run.
"""
