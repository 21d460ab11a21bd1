"""The process in which runtimes run: a crash there becomes an exception here."""
