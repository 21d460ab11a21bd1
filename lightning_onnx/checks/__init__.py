"""Can the file be trusted: ``base`` holds the protocol, every other file one check or what checks share."""
