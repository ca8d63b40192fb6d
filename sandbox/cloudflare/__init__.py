"""A stateful double of the Cloudflare v4 API and of the proxy in front of the origins.

It proves call counts, order, idempotence and error handling of what talks to Cloudflare. It does not prove how the real
edge behaves: propagation time, plans and prices, and the exact texts of rarer errors are not modelled.
"""
