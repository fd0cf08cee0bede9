"""Relations between entities that the caller gives."""
