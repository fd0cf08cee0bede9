"""Extractions, explanations and bundles as text, HTML, JSON and tables."""
