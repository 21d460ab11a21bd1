"""The directory of one export on disk: its files, its manifest, its siblings."""
