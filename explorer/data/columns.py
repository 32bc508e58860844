"""The names under which tables hold pictures, labels and captions: one list for local files and
the hub. Case, spaces and signs in them do not count: "Image Path" is imagepath."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from explorer.base.errors import InputError
from explorer.base.files import printable

IMAGES = ("image", "img", "images", "imagepath", "imgpath", "imagefile", "imagefilepath",
          "imagefilename", "imagename", "imgname", "imgfile", "filepath", "filepaths", "filename",
          "filenames", "file", "files", "path", "paths", "relativepath", "localpath", "jpg", "jpeg",
          "png", "webp", "picture", "photo", "imagebytes", "bytes", "imageid", "imgid", "id",
          "key", "photoid", "pictureid", "idx")
LABELS = ("label", "labels", "class", "classes", "classname", "labelname", "labeltext", "category",
          "categories", "categoryname", "target", "targets", "finelabel", "cls", "breed",
          "species", "object", "variety", "primarylabel", "predictionstring", "commonname",
          "scientificname", "coarselabel", "classid", "labelid", "categoryid", "wnid",
          "synset", "name", "tag", "y")
CAPTIONS = ("caption", "captions", "text", "texts", "txt", "title", "sentence", "sentences", "raw",
            "description", "comment", "comments", "imagecaption", "rawcaption", "alttext", "alt",
            "prompt", "captiontext", "en", "longcaption", "shortcaption", "rawsentences", "origcap")
URLS = ("url", "urls", "imageurl", "imgurl", "cocourl", "flickrurl", "link", "imagelink", "uri")
SPLITS = ("split", "splits", "set", "subset", "dataset", "partition", "phase", "usage", "fold")
FLAG = "image=NAME,caption=NAME (or label=NAME)"
PICTURE_NAME = re.compile(r"\.(jpe?g|jpe|jfif|png|webp|gif|bmp|tiff?|heic|heif|avif|jp2|tga|ppm)"
                          r"(#\d+)?$", re.IGNORECASE)


def plain(name: str) -> str:
    """A column's name as the lists above have it."""
    return re.sub(r"[\W_]+", "", str(name).casefold())


@dataclass(frozen=True)
class Given:
    """The columns that a person named, as they named them; "" for none."""

    image: str = ""
    caption: str = ""
    label: str = ""

    @classmethod
    def of(cls, text: str | None) -> Given:
        """From "image=photo,caption=words". Raises InputError where it is not that."""
        found: dict[str, str] = {}
        for part in (text or "").split(",") if text else []:
            kind, mark, name = part.partition("=")
            if kind.strip() not in ("image", "caption", "label") or not mark or not name.strip():
                raise InputError(f"--columns must be {FLAG}, not '{printable(text or '')}'")
            found[kind.strip()] = name.strip()
        return cls(**found)

    def __str__(self) -> str:
        return ",".join(f"{kind}={name}" for kind, name in vars(self).items() if name)


@dataclass(frozen=True)
class Chosen:
    """Which columns of a table are read. answers: several where captions are numbered; split: the
    column that says to which split a row belongs, or ""; one_hot: the answers are
    classes, with 1 in the column of the true one."""

    image: str
    answers: tuple[str, ...]
    is_label: bool
    split: str = ""
    one_hot: bool = False

    def __str__(self) -> str:
        shown = ", ".join(self.answers[:6]) + (" ..." if len(self.answers) > 6 else "")
        kind = f"a column for each class ({shown})" if self.one_hot else shown
        return f"{self.image} and {kind}"


Values = Callable[[str], Sequence[Any]]  # the first few cells of a column


def choose(columns: Sequence[str], where: str, values: Values, captions_first: bool = False,
           given: Given | None = None, has_names: Callable[[str], bool] = lambda _: False,
           ) -> Chosen:
    """The columns of pictures and answers, by their names or as a person gave them. Captions go
    before labels that are numbers, unless these have names (has_names, of a column).

    Raises InputError, with what looks right, where a name is missing; where pictures are
    addresses on the web alone; or where a given name is not there.
    """
    given = given or Given()
    image = _given(columns, given.image, where) or _first(columns, IMAGES, values)
    rest = [column for column in columns if column != image]
    label = _given(rest, given.label, where) if given.label else "" if given.caption else _label(
        rest, values)
    captions = (_given(rest, given.caption, where),) if given.caption else (
        () if given.label else _captions(rest, values))
    if not image and not given.image and (found := _known(columns, URLS)):
        raise InputError(web_sentence(where, found[0]))
    if not image or not (label or captions):
        raise InputError(_missing(columns, where, values, bool(image)))
    own = [c for c in _known(rest, SPLITS)
           if c not in (label, *captions) and _says_splits(values(c))]
    split = own[0] if own else ""
    bare = not given.label and bool(label) and not has_names(label) and all(
        map(is_number, values(label)))
    if captions and (captions_first or not label or bare):
        return Chosen(image, captions, False, split)
    return Chosen(image, (label,), True, split)


def _given(columns: Sequence[str], name: str, where: str) -> str:
    """A column by its name, by its name without regard to case, or by its number from 1."""
    if not name or name in columns:
        return name
    found = [column for column in columns if plain(column) == plain(name)]
    if not found and name.isdecimal() and 1 <= int(name[:6]) <= len(columns):
        found = [columns[int(name) - 1]]
    if not found:
        raise InputError(f"{where} has no column '{printable(name)}'; it has {_list(columns)}")
    return found[0]


def _known(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The columns of these names, in the order of the names."""
    place = {name: k for k, name in enumerate(names)}
    return sorted((c for c in columns if plain(c) in place), key=lambda c: place[plain(c)])


def _first(columns: Sequence[str], names: Sequence[str], values: Values) -> str:
    """The picture column: the first known one; one whose cells look like pictures goes before
    others, since "image" may be a number where "file" is a path."""
    found = _known(columns, names)
    fit = [column for column in found if looks_like_pictures(values(column))]
    return (fit or found or [""])[0]


def _label(columns: Sequence[str], values: Values) -> str:
    """The label column: one of words before one of numbers."""
    found = [c for c in _known(columns, LABELS) if any(v is not None for v in values(c))]
    words = [c for c in found if not all(is_number(v) for v in values(c))]
    known = _known(columns, LABELS)
    return (words or found or known or [""])[0]


def _captions(columns: Sequence[str], values: Values) -> tuple[str, ...]:
    """The caption column, or all of a row of numbered ones, such as caption_0 to caption_4. One
    that holds names of pictures, as some titles do, comes last."""
    found = sorted(_known(columns, CAPTIONS), key=lambda c: looks_like_pictures(values(c)))
    if found:  # with those of the very same name
        again = re.compile(re.escape(found[0]) + r" \(\d+\)")
        return (found[0], *(c for c in columns if again.fullmatch(c)))
    numbered = [c for c in columns if re.fullmatch(r"(.*\D)\d", plain(c))
                and plain(c)[:-1] in CAPTIONS]
    return tuple(sorted(numbered, key=plain))


def is_number(value: Any) -> bool:
    """3, 3.0, "3" or "3.0"; not True, and nothing empty."""
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, int | float):
        return True
    return isinstance(value, str) and bool(re.fullmatch(r"\s*[-+]?\d+(\.\d*)?\s*", value))


def looks_like_pictures(values: Sequence[Any]) -> bool:
    held = [v for v in values if v not in (None, "")]
    fit = [v for v in held if isinstance(v, bytes) or (isinstance(v, dict) and {"bytes", "path"}
           & set(v)) or (isinstance(v, str) and PICTURE_NAME.search(v.strip()))]
    return 2 * len(fit) > len(held)


WEB = re.compile(r"https?://", re.IGNORECASE)


def web_sentence(where: str, column: str) -> str:
    return (f"{where} has addresses of pictures on the web in {printable(column)}, and this app "
            "fetches nothing from there: download them first, with img2dataset for instance, and "
            "give the folder")


def _says_splits(values: Sequence[Any]) -> bool:
    from explorer.data.splits import kind_of

    return all(isinstance(v, str) and kind_of(v) for v in values) and bool(values)


def _missing(columns: Sequence[str], where: str, values: Values, has_image: bool) -> str:
    """Why a table is not understood, and the flag that would say it."""
    said = (f"{where} needs the columns image and label (or caption), or others of a known name; "
            f"it has {_list(columns)}")
    known = _known(columns, IMAGES) if has_image else []
    shown = known or [c for c in columns if looks_like_pictures(values(c))]
    words = [c for c in columns if c not in shown and _texts(values(c))]
    if not shown or not words:
        return said
    word = max(words, key=lambda c: sum(len(str(v)) for v in values(c)))
    kind = "caption" if any(len(str(v).split()) > 2 for v in values(word)) else "label"
    flags = ",".join(f"{what}={_by_flag(name, columns)}"
                     for what, name in (("image", shown[0]), (kind, word)))
    return (f"{said}. {printable(shown[0])} looks like the pictures and {printable(word)} like the "
            f"{kind}s: if so, say --columns {flags}")


def _by_flag(name: str, columns: Sequence[str]) -> str:
    """A column as --columns takes it: by its number where its name has a comma."""
    return str(list(columns).index(name) + 1) if "," in name or not name else printable(name)


def _texts(values: Sequence[Any]) -> bool:
    held = [v for v in values if v not in (None, "")]
    return bool(held) and all(isinstance(v, str) and not is_number(v) for v in held)


def _list(columns: Sequence[str]) -> str:
    named = [printable(str(column)) or "(no name)" for column in columns[:20]]
    return (", ".join(named) or "none") + (" ..." if len(columns) > 20 else "")
