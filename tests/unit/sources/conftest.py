import warnings

with warnings.catch_warnings():
    # kafka-python reads its schemas through a deprecated door of importlib, once, at import.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401 - imported for its warning
