"""Telling a tenant's own server of events: signed, over https, to public addresses only."""
