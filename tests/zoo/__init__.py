"""A zoo of modules as people have them; each is trained with ``ONNXExport()`` and its file checked from outside."""
