"""The parts, models, data sets and heads deepmix ships, registered through the same entry points as anyone's."""
