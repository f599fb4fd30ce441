"""Message broker and agent registry for multi-agent systems."""

from broker.version import __version__

__all__ = ["__version__"]
