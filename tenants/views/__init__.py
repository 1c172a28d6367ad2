"""`/api/tenants`, one module per resource. See also `tenants.billing.views` and `tenants.webhooks.views`."""
