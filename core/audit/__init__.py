"""The audit trail: who did what to which object (`models`), and what callers were denied (`denials`)."""
