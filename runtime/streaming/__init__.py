"""Streams of texts: what is read ahead, in which batches or processes it is worked on, and the order of the results."""
