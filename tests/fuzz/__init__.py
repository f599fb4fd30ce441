"""Fuzz targets: functions that take any bytes, and fail when a promise about them is broken."""
