"""Inspecting and moving the contents of queues: what only commands need."""
