"""Values that differ from the traced call, and the cases made of them."""
