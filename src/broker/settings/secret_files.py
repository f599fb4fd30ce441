"""`X_FILE` beside every secret `X`: the file that holds it, at the same level of precedence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from broker.settings.fields import UnusableSecret

SUFFIX = "_file"
_MAX_BYTES = 65_536  # a device or a wrong file must not fill the memory


def is_secret(field: FieldInfo) -> bool:
    """Tell whether a field holds a secret, and so has a `_FILE` variable beside it."""
    return _mentions_secret(field.annotation)


def _mentions_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(_mentions_secret, get_args(annotation)))


class SecretFiles(PydanticBaseSettingsSource):
    """Reads the secrets whose `_FILE` variables are given at one level.

    Attributes:
        given: That level's values by lower-case name, empty ones left out.
    """

    def __init__(self, settings_cls: type[BaseSettings], given: Mapping[str, Any]) -> None:
        super().__init__(settings_cls)
        self.given = given

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Read one secret, or explain why it cannot be read."""
        path = self.given.get(field_name + SUFFIX) if is_secret(field) else None
        if path is None:
            return None, field_name, False
        variable = (field_name + SUFFIX).upper()
        if field_name in self.given:
            problem = f"must not be given together with {field_name.upper()}"
            return UnusableSecret(variable, problem), field_name, False
        try:
            return _read(Path(path)), field_name, False
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            problem = f"must name a readable file with the secret ({reason})"
            return UnusableSecret(variable, problem), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Read all secrets of this level."""
        values = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in values.items() if value is not None}


def _read(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ValueError("it is empty")
    return secret
