"""Sends a tenant's events to its own servers: signed, over https, to public addresses. Used in this order:

`models` enqueues a delivery for an event, `delivery` claims those that are due, `sender` makes the request
to an address that `addresses` allows and signs it with the key from `signing_secret`.
"""
