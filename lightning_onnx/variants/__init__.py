"""Other models made from the first: ``base`` holds the protocol; ``judging`` and ``budget`` decide which are kept."""
