"""What is declared is what is decoded."""

from typing import Annotated, Literal

import pytest
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from broker.core.codec.declared import Declared
from broker.core.codec.fields import RejectedError
from broker.core.contract import kinds

type Described = Annotated[kinds.Text, Meta(description="A name for a kind.")]


class Sample(Struct, rename={"own": "_own"}):
    message_type: Literal["ONE", "TWO"]
    who: kinds.AgentId
    name: Annotated[Described, Meta(description="Described again.")] = UNSET
    answered: kinds.TextIfAny = UNSET
    needs: kinds.Capabilities = UNSET
    own: kinds.Text = UNSET
    else_: kinds.Anything = UNSET


SAMPLE = Declared(Sample)
WHO = {"who": Raw(b'"ada"')}


def test_each_field_is_decoded_by_its_name_and_kind() -> None:
    fields = {
        **WHO,
        "name": Raw(b'"Ada"'),
        "answered": Raw(b"5"),
        "needs": Raw(b'["sums"]'),
        "_own": Raw(b'"x"'),
        "else_": Raw(b"{}"),
        "unknown": Raw(b"[]"),
    }
    assert SAMPLE.types == ("ONE", "TWO")
    assert SAMPLE.decode(fields) == {
        "who": "ada",
        "name": "Ada",
        "answered": None,
        "needs": ("sums",),
        "_own": "x",
    }


def test_what_may_be_missing_may_be_missing() -> None:
    assert SAMPLE.decode(WHO) == {"who": "ada"}
    assert SAMPLE.decode({**WHO, "name": Raw(b"null")}) == {"who": "ada", "name": None}


@pytest.mark.parametrize(
    "fields",
    [{}, {"who": Raw(b"5")}, {**WHO, "name": Raw(b"5")}, {**WHO, "needs": Raw(b'"sums"')}],
)
def test_what_is_not_as_declared_is_rejected(fields: dict[str, Raw]) -> None:
    with pytest.raises(RejectedError):
        SAMPLE.decode(fields)


def test_a_kind_that_nothing_decodes_cannot_be_declared() -> None:
    class Undecodable(Struct):
        message_type: Literal["ONE"]
        number: int | UnsetType = UNSET

    with pytest.raises(TypeError, match="no decoder for int"):
        Declared(Undecodable)
