"""Flags in the spellings that programs in different languages give them."""

_SPELLINGS: dict[object, bool] = {
    # Equal to 1 and 1.0, and to 0 and 0.0, and found by them.
    True: True,
    False: False,
    **dict.fromkeys(("true", "1", "yes", "y", "on", "t", "online"), True),
    **dict.fromkeys(("false", "0", "no", "n", "off", "f", "offline"), False),
}

type Spelled = bool | float | str
"""The types of JSON in which a flag may be spelled."""


def understood(flag: Spelled) -> bool | None:
    """Return what a flag means, None when it cannot be understood.

    Case and surrounding spaces do not matter. No number but 0 and 1 is a flag: what 2 means is
    anybody's guess.
    """
    return _SPELLINGS.get(flag.strip().lower() if isinstance(flag, str) else flag)
