"""The Lightning side: hooks, ranks, loggers, and which artifacts to make."""
