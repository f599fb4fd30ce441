"""How a scenario says that a promise was broken."""


class ScenarioFailedError(Exception):
    """A promise was broken, as the text says in one line."""
