"""The WebSocket session with the central server."""

from broker.central.link import CentralLink
from broker.central.session import SessionTerms
from broker.central.websocket import ServerAddress

__all__ = ["CentralLink", "ServerAddress", "SessionTerms"]
