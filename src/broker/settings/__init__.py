"""Settings: command line, environment and `.env` become one frozen object, or named problems."""

from broker.net.endpoints import AmqpEndpoint
from broker.settings.load import SettingsError, load_settings
from broker.settings.model import Settings

__all__ = ["AmqpEndpoint", "Settings", "SettingsError", "load_settings"]
