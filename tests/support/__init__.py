"""Makers of tiny encoders, models and data for the tests."""
