"""Probes, metrics and status over HTTP. What fails in here must never reach the routing."""

from broker.status.http.endpoint import serve_http

__all__ = ["serve_http"]
