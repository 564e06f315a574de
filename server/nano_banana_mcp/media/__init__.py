"""The bytes of the images that generations led to: stored, shown and exported."""
