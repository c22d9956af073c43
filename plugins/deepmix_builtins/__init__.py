"""The parts, models, data sets and heads that deepmix ships, registered through the same entry points as a plugin's."""
