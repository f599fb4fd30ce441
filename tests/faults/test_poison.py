"""The catalogue contains what it says."""

import json
from collections.abc import Callable, Iterable

import pytest
from pamqp.header import ContentHeader

from broker.amqp.admin.all_properties import AllProperties, decode_all_properties
from broker.core.messages import RejectReason
from tests.faults import chat
from tests.faults.poison import (
    MAX_BYTES,
    Poison,
    advertisement_poison,
    input_poison,
    metadata_poison,
    oddities,
)
from tests.lab.raw_content import Content

type Catalogue = Callable[[int], Iterable[Poison]]
CATALOGUES: tuple[Catalogue, ...] = (input_poison, metadata_poison, advertisement_poison)
VICTIM = "victim"


def properties(content: Content) -> AllProperties:
    found = decode_all_properties(content.properties)
    assert found.error is None
    return found


@pytest.mark.parametrize("catalogue", CATALOGUES)
def test_the_reasons_are_known_and_most_of_them_occur(catalogue: Catalogue) -> None:
    reasons = {poison.reason for poison in catalogue(0)}
    # RabbitMQ itself takes no message whose AMQP properties cannot be read.
    other = {
        *("invalid_properties", "too_many_hops", "registry_full", "policy_error", "unroutable"),
        "internal_error",
    }
    assert reasons == set(RejectReason) - other


def test_what_is_too_large_is_so_by_little() -> None:
    sizes = [len(poison.content.body) for poison in input_poison(0) if poison.reason == "too_large"]
    assert min(sizes) > MAX_BYTES
    assert max(sizes) < MAX_BYTES + 1_000


def test_oddities_are_numbered_chat_messages_with_sound_properties() -> None:
    for number, oddity in enumerate(oddities(7, VICTIM), 7):
        # Parsed with as many digits as it has; not as the broker does it.
        fields = json.loads(oddity.content.body, parse_int=str, parse_float=str)
        assert fields["message_id"] == chat.message_id(number)
        assert fields["sender_id"] == chat.sender(number)
        assert oddity.fields.keys() <= fields.keys()
        assert len(oddity.content.body) < MAX_BYTES
        properties(oddity.content)


def test_oddities_want_to_be_copied() -> None:
    odd = {oddity.name: properties(oddity.content) for oddity in oddities(0, VICTIM)}
    for name in ("CC", "BCC"):
        assert odd[name].headers[name] == [VICTIM, VICTIM]
    assert odd["reply_to"].properties["reply_to"] == VICTIM
    assert odd["user_id"].properties["user_id"] == "guest"
    assert odd["expiration"].properties["expiration"] == "3600000"


def test_oddities_that_a_client_library_cannot_represent() -> None:
    refused = set()
    for oddity in oddities(0, VICTIM):
        header = ContentHeader()
        try:
            header.unmarshal(bytes(12) + oddity.content.properties)
        except (ValueError, OverflowError, RecursionError):
            refused.add(oddity.name)
    assert {
        "a timestamp in microseconds",
        "a timestamp beyond all years",
        "headers nested 15,000 deep",
        "content_type that is not UTF-8",
        "a header key that is not UTF-8",
    } <= refused
