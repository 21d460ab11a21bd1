"""The process in which runtimes run: a crash there is an error here."""
