"""Recipes of the grid, and models that are not mixtures of VAEs."""
