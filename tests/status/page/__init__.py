"""The page in a real browser: what is scoped to this package is one browser for all its tests."""
