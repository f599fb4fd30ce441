"""Message broker and agent registry for multi-agent systems."""

__version__ = "0.1.0"
