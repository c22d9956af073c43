"""Recipes of the grid, and models of their own."""
