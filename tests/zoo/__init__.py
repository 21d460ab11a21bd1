"""A zoo of realistic modules; each is trained with ``ONNXExport()``, and its file is checked independently."""
