"""Every change is recorded in the audit trail, unless the reason why not is stated here.

The routes of the API, the actions of the console and the commands are found, not listed: a new one fails
until it is recorded or its reason is stated.
"""
