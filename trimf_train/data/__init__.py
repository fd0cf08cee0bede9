"""Annotated sentences: one record type, one reader per published format, and ``trimf prepare``."""
