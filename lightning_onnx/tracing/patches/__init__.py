"""What is replaced in torch or Python while a trace runs."""
