"""The routes of conversations.

Each action finds its session or tenant and has the caller's access judged (`base`), validates the body, calls
one function of the domain, and renders the result (`responses` for turns).
"""
