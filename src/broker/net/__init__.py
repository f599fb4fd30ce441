"""Addresses, TLS and back-off: what every connection needs."""
