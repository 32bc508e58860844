"""What ends a run that nobody's input is to blame for."""


class TrainingError(RuntimeError):
    """A run that cannot go on, said in one sentence: a loss that is not finite, a full disk."""
