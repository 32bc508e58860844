"""The one error a person can act on, and what is said of all others."""

OURS = "Something failed on our side; the server's log has the details."


class InputError(ValueError):
    """A caller's mistake, said in one sentence; shown as it is by the app and the command line.

    What it quotes of the input stays on its line: white space is one blank, and signs that cannot
    be printed are left out.
    """

    def __init__(self, sentence: str) -> None:
        words = " ".join(sentence.split())
        super().__init__("".join(sign for sign in words if sign.isprintable()))


def sentence(error: InputError) -> str:
    """Its message as a sentence of its own."""
    said = str(error)
    return f"{said[:1].upper()}{said[1:]}."
