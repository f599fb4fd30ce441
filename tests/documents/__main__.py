"""Renew what documents take from elsewhere: `scripts/documents`."""

from tests.documents.generated import renew

for path in renew():
    print(f"renewed {path}")  # noqa: T201 - what a command is for
