"""Flags in the spellings that programs in different languages give them."""

_SPELLINGS: dict[object, bool] = {
    # Equal to 1 and 1.0, and to 0 and 0.0, and found by them.
    True: True,
    False: False,
    "true": True,
    "1": True,
    "false": False,
    "0": False,
}

type Spelled = bool | float | str
"""The types of JSON in which a flag may be spelled."""


def understood(flag: Spelled) -> bool | None:
    """Return what a flag means, None when it cannot be understood.

    Case and surrounding spaces do not matter. Words such as "yes" are no flags, nor are numbers but
    0 and 1: what they mean is anybody's guess, and an agent that is not understood stays as it was.
    """
    return _SPELLINGS.get(flag.strip().lower() if isinstance(flag, str) else flag)
