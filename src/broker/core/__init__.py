"""The pure core: messages, their codec, the agent registry and the routing policy; no I/O."""
