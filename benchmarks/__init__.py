"""What the package costs: ``python -m benchmarks`` measures each row of ``rows.py`` and compares it with its goal."""
