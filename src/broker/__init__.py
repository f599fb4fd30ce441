"""Message broker and agent registry for multi-agent systems.

A program that embeds the broker finds here what it needs: `load_settings` makes `Settings`, and
`serve` runs the broker with them under Trio, or `run` as the whole process. `Policy` is what
chooses receivers: it is called with a `ChatMessage` and the `Agents` that may receive it, each an
`Agent`.
"""

from typing import TYPE_CHECKING

from broker.version import __version__

if TYPE_CHECKING:
    from broker.core.agent import Agent
    from broker.core.messages import ChatMessage
    from broker.core.routing.agents import Agents
    from broker.core.routing.policy import Policy
    from broker.service import run, serve
    from broker.settings import Settings, SettingsError, load_settings
else:
    from importlib import import_module

    _HOMES = dict.fromkeys(("Settings", "SettingsError", "load_settings"), "broker.settings")
    _HOMES |= dict.fromkeys(("run", "serve"), "broker.service")
    _HOMES |= {
        "Agent": "broker.core.agent",
        "Agents": "broker.core.routing.agents",
        "ChatMessage": "broker.core.messages",
        "Policy": "broker.core.routing.policy",
    }

    def __getattr__(name):
        # Loaded on first use: the service takes 300 ms and 40 MiB, which `import broker.core` and
        # each command of the command line would have to pay.
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


__all__ = [
    "Agent",
    "Agents",
    "ChatMessage",
    "Policy",
    "Settings",
    "SettingsError",
    "__version__",
    "load_settings",
    "run",
    "serve",
]
