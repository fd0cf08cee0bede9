"""Scores to entities, pairs, relations and dependency trees."""
