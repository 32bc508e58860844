"""What a fine-tuning method says of itself, and what it gets to compute its loss from."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:  # forms and flags list the methods without torch
    from explorer.training.objective import Moment, Terms
    from explorer.training.recipe import Recipe
    from explorer.training.student import Student

ALL = ("image", "text", "scale")


class Method:
    """title: for a person; source: the paper; trains: which of image, text and scale (the logit
    scale) may change; image_attack: "label" climbs the cross-entropy of the true caption,
    "feature" the distance to the frozen model's clean feature, "" is none; text_attack: whether
    captions are attacked; anchored: whether the loss or the attack needs the frozen model, and
    reads_still: its features of the clean pictures; patches: whether it reads the features of the
    image's patches; sides: whether one attacked side can be left out; hardens: whether the model is
    robust afterwards."""

    title: ClassVar[str]
    source: ClassVar[str]
    trains: ClassVar[tuple[str, ...]]
    image_attack: ClassVar[str] = ""
    text_attack: ClassVar[bool] = False
    anchored: ClassVar[bool] = False
    reads_still: ClassVar[bool] = False
    patches: ClassVar[bool] = False
    sides: ClassVar[bool] = False
    hardens: ClassVar[bool] = True

    @property
    def leads_from_frozen(self) -> bool:
        """Whether captions are led away from the frozen model's features, as in LEAF, and not
        from their own of the moment."""
        return self.text_attack and "scale" not in self.trains

    def check(self, student: Student) -> None:
        """Raises InputError where the method does not fit the model."""

    def reads_clean(self, recipe: Recipe) -> bool:
        """Whether the student reads the clean pictures, too."""
        return False

    def terms(self, on: Moment) -> Terms:
        """Weighted terms by name, () each, whose sum is minimised."""
        raise NotImplementedError
