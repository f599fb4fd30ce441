"""How the broker scales: measured on this machine, and modelled beyond it."""
