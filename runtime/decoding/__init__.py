"""Scores to entities, pairs, relations, triggers and dependency trees."""
