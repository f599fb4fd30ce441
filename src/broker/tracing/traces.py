"""Whether traces are wanted, and where they go.

OpenTelemetry is imported only when they are: who does without them saves its memory and its time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from broker.net.endpoints import AmqpEndpoint

if TYPE_CHECKING:
    from broker.tracing.spans import MessageSpans

_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_INSTALL = "pip install 'agent-broker[otel]'"

_log = structlog.get_logger(__name__)


def open_traces(
    environ: Mapping[str, str], server: Callable[[], AmqpEndpoint]
) -> "MessageSpans | None":
    """Begin to export traces if the environment asks for them.

    What is wrong with them is logged once, and the broker runs without.

    Args:
        environ: OpenTelemetry itself reads the variables of the process.
        server: Tells the RabbitMQ node that messages come from and go to.
    """
    exporters = wanted_exporters(environ)
    if not exporters:
        return None
    try:
        from broker.tracing.spans import ExporterMissingError, export_spans  # noqa: PLC0415
    except ImportError as error:
        return _off(f"OTEL_* asks for traces, but {error.name} is not installed: {_INSTALL}")
    try:
        spans = export_spans(exporters, server)
    except ExporterMissingError as error:
        return _off(f"the exporter {error} is not installed; {_INSTALL} brings OTLP over HTTP")
    except Exception as error:  # noqa: BLE001 - wrong OTEL_* values raise anything, and harm nobody
        return _off(f"OpenTelemetry cannot be set up: {error}")
    _log.info("traces_on", exporters=exporters)
    return spans


def _off(reason: str) -> "MessageSpans | None":
    _log.warning("traces_off", reason=reason)
    return None


def wanted_exporters(environ: Mapping[str, str]) -> Sequence[str]:
    """Return the names of the exporters that the environment asks for; none without traces.

    Traces are on when `OTEL_TRACES_EXPORTER` names an exporter, or when it is not set and an OTLP
    endpoint is. `OTEL_SDK_DISABLED=true` and `OTEL_TRACES_EXPORTER=none` turn them off. As
    everywhere in OpenTelemetry, an empty variable is as good as none.
    """
    if _value(environ, "OTEL_SDK_DISABLED").lower() == "true":
        return ()
    chosen = _value(environ, _EXPORTER)
    if not chosen and any(_value(environ, endpoint) for endpoint in _ENDPOINTS):
        chosen = "otlp"
    names = [name for part in chosen.split(",") if (name := part.strip())]
    return [_otlp(environ) if name == "otlp" else name for name in names if name.lower() != "none"]


def _otlp(environ: Mapping[str, str]) -> str:
    protocol = next((value for name in _PROTOCOLS if (value := _value(environ, name))), None)
    # HTTP is what the extra installs, and what OpenTelemetry wants to be the default.
    return "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip()
