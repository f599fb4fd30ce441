"""How the broker scales, measured on this machine."""
