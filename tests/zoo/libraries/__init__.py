"""Modules of libraries, trained as their own quickstarts do: one file a library.

Each file imports without its library, which only its functions import, and has a ``LIBRARY``.
"""
