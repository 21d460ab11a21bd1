"""What people read: the report as Markdown and as a page, tables, plots."""
