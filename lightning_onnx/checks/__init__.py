"""Checks of the exported file: ``base`` defines the protocol; the other files contain a check each, or shared parts."""
