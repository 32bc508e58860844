"""The one error a person can act on."""


class InputError(ValueError):
    """A caller's mistake, said in one sentence; shown as it is by the app and the command line.

    What it quotes of the input stays on its line: white space is one blank, and signs that cannot
    be printed are left out.
    """

    def __init__(self, sentence: str) -> None:
        words = " ".join(sentence.split())
        super().__init__("".join(sign for sign in words if sign.isprintable()))
