"""`broker asyncapi`: the contract with the broker's peers, for programs to read."""

from collections.abc import Mapping

from broker.cli.asyncapi_document import asyncapi_document
from broker.cli.output import print_json
from broker.cli.taking_settings import taking_settings
from broker.settings import SettingsError, load_settings
from broker.telemetry.one_line import complain


@taking_settings
def asyncapi(given: Mapping[str, str]) -> int:
    """Print an AsyncAPI 3.0 document (JSON) of the queues and WebSocket messages.

    Queues and addresses are those that the broker would use.
    """
    try:
        settings = load_settings(given)
    except SettingsError as error:
        return complain(*error.problems)
    print_json(asyncapi_document(settings))
    return 0
