"""Traces for OpenTelemetry, when they are asked for."""
