"""How long answers take with each routing policy: a simulation of agents around real brokers."""
