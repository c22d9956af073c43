"""Deep clustering with mixtures of variational autoencoders."""
