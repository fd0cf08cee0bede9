"""Annotated sentences: the record type, readers for published formats, and ``trimf prepare``."""
