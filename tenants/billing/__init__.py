"""What a tenant may use and has used. Used in this order:

`plan` sets the limits, `limits` explains how much of each is used, `counters` and `usage` admit, extend and
settle turns, `ledger` records every billable call, `alerts` mails admins when a limit is nearly used up.
"""
