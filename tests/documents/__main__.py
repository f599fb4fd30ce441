"""Renew what documents take from elsewhere: `scripts/documents`."""

from tests.documents.generated import documents, renewed

for path in documents():
    before = path.read_text(encoding="utf-8")
    after = renewed(before)
    if after != before:
        path.write_text(after, encoding="utf-8")
        print(f"renewed {path}")  # noqa: T201 - what a command is for
