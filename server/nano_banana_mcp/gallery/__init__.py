"""A local page of what was made, for the person whose machine this is."""
