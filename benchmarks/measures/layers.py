"""Seconds of an export for each layer of modules of different depth."""

from __future__ import annotations

from growth import seconds_a_layer
from kit import quiet, tell

if __name__ == "__main__":
    quiet()
    few, many = seconds_a_layer(10), seconds_a_layer(100)
    tell({"10": few, "100": many, "100 in units of 10": many / few})
