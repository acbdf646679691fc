"""A model, or a folder of somebody else's outputs, against a test set, and always against doing nothing."""
