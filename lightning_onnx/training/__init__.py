"""The Lightning side: hooks, ranks, which artifacts are due, and loggers."""
