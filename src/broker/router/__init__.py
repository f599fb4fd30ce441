"""The task that owns the agent registry and decides each delivery."""
