"""What can go wrong when a server starts; apart from the server, so that a command line can name it without loading gRPC."""


class AddressInUse(Exception):
    """The address cannot be bound; the text says which and what to do."""
