"""Objects to xDS resources, and refusals of resources back to the line that was written."""
