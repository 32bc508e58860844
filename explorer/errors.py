"""The one error a person can act on."""


class InputError(ValueError):
    """A caller's mistake, said in one sentence; shown as it is by the app and the command line."""
