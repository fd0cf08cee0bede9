"""Files of texts to records."""
