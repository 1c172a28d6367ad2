"""The routes of conversations.

Each action finds its session or tenant and checks the access to it (`base`), validates the body, calls
one function of the domain, and renders the result (`responses` for turns).
"""
