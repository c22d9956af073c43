"""Priors `full` and `vamp`, and models with stick-breaking posteriors: `sb-vae` and `dlgmm`."""
