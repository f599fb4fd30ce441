"""Settings as text that anybody may see."""

from urllib.parse import urlsplit

from broker.settings.model import Settings
from broker.settings.options import written
from broker.settings.setting import Setting

MASK = "***"


def shown(one: Setting, settings: Settings) -> str | None:
    """Return a setting's value as one would write it, its secrets masked; None without a value."""
    value = getattr(settings, one.name)
    if value is None:
        return "off" if one.name == "broker_http_port" else None
    match one.name:
        case "amqp_url":
            logins = (str(one).replace("@", f":{MASK}@", 1) for one in settings.amqp_endpoints)
            return ", ".join(logins)
        case "websocket_url":
            # A token may travel in the query.
            parts = urlsplit(value)
            return parts._replace(query=MASK).geturl() if parts.query else str(value)
        case _:
            return MASK if one.is_secret else written(value)
