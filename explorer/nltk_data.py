"""The stop words that TextAttack reads when it is imported: ours, without a download."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "nltk"


def use_own_nltk_data() -> None:
    """Puts assets/nltk first on NLTK's search path; call it before `import textattack`.

    First, so that a text attack keeps to the same words on every machine, whatever is installed.
    """
    import nltk

    if str(FOLDER) not in nltk.data.path:
        nltk.data.path.insert(0, str(FOLDER))
