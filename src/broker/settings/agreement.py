"""What several settings must agree on, once each is sound by itself."""

from collections import defaultdict
from collections.abc import Iterator

from broker.net.tls import TlsFiles
from broker.net.unusable_file import UnusableFileError
from broker.settings.amqp_nodes import has_tls
from broker.settings.model import Settings

_QUEUES = (
    "broker_input_queue",
    "broker_output_queue",
    "broker_metadata_queue",
    "broker_advertisement_queue",
    "broker_dead_letter_queue",
    "broker_hold_queue",
    "broker_registry_exchange",
)
_AMQP_TLS_FILES = ("amqp_ca_file", "amqp_cert_file", "amqp_key_file")


def disagreements(settings: Settings) -> Iterator[str]:
    """Yield one line for each disagreement, naming the variables and what they must be."""
    yield from _shared_queues(settings)
    yield from _tls_files_without_tls(settings)
    yield from _wrong_client_certificate(settings)


def _shared_queues(settings: Settings) -> Iterator[str]:
    by_name = defaultdict(list)
    for field in _QUEUES:
        named = getattr(settings, field)
        for name in (named,) if isinstance(named, str) else named:
            by_name[name].append(field.upper())
    for name, variables in by_name.items():
        different = list(dict.fromkeys(variables))
        if len(different) > 1:
            yield f"{' and '.join(different)} must be different queues, not all {name!r}"
        elif len(variables) > 1:
            yield f"{different[0]} must name each queue once, not {name!r} several times"


def _tls_files_without_tls(settings: Settings) -> Iterator[str]:
    # Whoever names such a file believes the connection to be encrypted.
    if not has_tls(settings.amqp_endpoints):
        for field in _AMQP_TLS_FILES:
            if getattr(settings, field) is not None:
                yield f"{field.upper()} must go with an AMQP_URL that is amqps:// throughout"
    is_wss = settings.websocket_url.lower().startswith("wss:")
    if settings.websocket_ca_file is not None and not is_wss:
        yield "WEBSOCKET_CA_FILE must go with a WEBSOCKET_URL that is wss://"


def _wrong_client_certificate(settings: Settings) -> Iterator[str]:
    certificate, key = settings.amqp_cert_file, settings.amqp_key_file
    if certificate is None:
        if key is not None:
            yield "AMQP_KEY_FILE must go with AMQP_CERT_FILE"
        return
    try:
        TlsFiles(cert_file=certificate, key_file=key).context()
    except UnusableFileError as error:
        yield str(error)
