"""The reference of all settings, from their declarations."""

import re

from broker.cli.settings_help import INTRODUCTION, NOTES, meaning
from broker.settings.model import Settings
from broker.settings.options import written
from broker.settings.setting import Setting, settings_of

_CODE = re.compile(
    r"\w+://\S*?(?=[,;.]?(?:\s|$))"  # URLs
    r"|\b\w+_[\w*]+"  # variables and fields
    r"|\b[a-z]+\.[a-z]+:[a-z]+"  # names in packages
    r"|'[^']+'"
)


def settings_reference() -> str:
    """Return what docs/settings.md says."""
    rows = "\n".join(map(_row, settings_of(Settings)))
    return f"{INTRODUCTION}\n| variable | default | meaning |\n|---|---|---|\n{rows}\n{NOTES}\n"


def _row(one: Setting) -> str:
    default = written(one.default)
    shown = "-" if default is None else f"`{default}`"
    text = _CODE.sub(lambda found: f"`{found[0].strip("'")}`", meaning(one))
    return f"| `{one.variable}` | {shown} | {text} |"
