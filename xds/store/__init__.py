"""Where authored objects are kept: one small interface, several implementations. Stores know nothing of what the objects mean."""
