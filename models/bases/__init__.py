"""The base models: architectures, and the registry that binds them to weights, preprocessing, classes and scores."""
