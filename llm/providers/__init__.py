"""The providers by name, in the order in which the default route falls back."""
