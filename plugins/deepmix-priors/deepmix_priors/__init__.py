"""Priors whose components are not diagonal Gaussians: `full` and `vamp`."""
