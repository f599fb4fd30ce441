"""The WebSocket session with the central server."""

from broker.central.address import ServerAddress
from broker.central.link import CentralLink
from broker.central.session import SessionTerms

__all__ = ["CentralLink", "ServerAddress", "SessionTerms"]
