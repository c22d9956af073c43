"""Priors and estimators of q(y|x)."""
