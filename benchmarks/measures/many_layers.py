"""Seconds of an export for each layer of a module of 1,000 layers."""

from __future__ import annotations

from growth import seconds_a_layer
from kit import quiet, tell

if __name__ == "__main__":
    quiet()
    many, most = seconds_a_layer(100), seconds_a_layer(1000)
    tell({"1,000": most, "1,000 in units of 100": most / many})
