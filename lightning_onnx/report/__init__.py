"""The human-readable report of an artifact: as Markdown and as a page, with tables and plots."""
