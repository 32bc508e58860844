"""What a person reads and sees: sentences, magnified changes, safe HTML."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from explorer.attacks.image.classic import FGSM, PGD, Noise
from explorer.attacks.joint import JointAttack, Separate
from explorer.attacks.result import Result
from explorer.attacks.run import run
from explorer.attacks.text.base import TextAttack
from explorer.attacks.text.classic import Typo
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.results.outcome import Flip
from explorer.results.trail import trail_data
from explorer.results.verdicts import class_word_note, flip_sentence, verdict
from explorer.results.views import (
    caption_diff,
    counted,
    diff_words,
    esc,
    levels,
    percent,
    perturbation,
    png_uri,
    settings_line,
    shared_start,
    shown_captions,
    signed,
    table,
)


@pytest.mark.parametrize(("p", "text"), [
    (1.0, "100 %"), (0.996, "100 %"), (0.93, "93 %"), (0.0994, "9.9 %"), (0.004, "0.4 %"),
    (0.0004, "<0.1 %"), (0.0, "<0.1 %"),
])
def test_percent(p: float, text: str) -> None:
    assert percent(p) == text


@pytest.mark.parametrize(("c", "text"), [(0.154, "0.15"), (-0.001, "0.00"), (-0.5, "−0.50")])
def test_signed(c: float, text: str) -> None:
    assert signed(c) == text


def test_shared_start_leaves_at_least_one_word() -> None:
    assert shared_start(["a photo of a cat", "a photo of a dog"]) == "a photo of a "
    assert shared_start(["a photo", "a photo of it"]) == "a "
    assert shared_start(["cat", "dog"]) == shared_start(["one"]) == ""


def test_text_is_escaped_for_html_and_templates() -> None:
    assert esc("<b>${x} {{y}}") == "&lt;b&gt;&#36;&#123;x&#125; &#123;&#123;y&#125;&#125;"
    assert "<script>" not in table(["a"], [["<script>"]], "c")


def test_pictures_survive_as_png() -> None:
    pixels = torch.randint(0, 256, (3, 5, 7)).float() / 255
    raw = base64.b64decode(png_uri(levels(pixels)).split(",", 1)[1])
    again = np.asarray(Image.open(io.BytesIO(raw)))
    assert np.array_equal(again, (pixels * 255).round().byte().permute(1, 2, 0).numpy())


def test_the_change_is_centred_on_grey_and_fills_the_range() -> None:
    clean = torch.full((3, 2, 2), 100 / 255)
    moved = clean.clone()
    moved[0, 0, 0] += 2 / 255
    moved[1, 1, 1] -= 1 / 255
    shown, factor = perturbation(clean, moved)
    assert factor == 63
    assert shown[0, 0, 0] == 128 + 126 and shown[1, 1, 1] == 128 - 63 and shown[0, 1, 2] == 128
    assert perturbation(clean, clean)[1] == 1


def tiny_run(tiny: DualEncoder, attack: PGD | FGSM | Noise, **kwargs: object) -> Result:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(40, 200, (1, 3, 32, 32), generator=generator).float() / 255
    captions = ("a cat", "a dog", "a red car", "the sea")
    with torch.no_grad():
        near = tiny.encode_image(images) @ tiny.encode_text(captions).T
    pairs = Pairs(images, captions, near.argmax(1))
    return run(attack, tiny, pairs, **kwargs)  # type: ignore[arg-type]


def test_verdicts_say_what_happened(tiny: DualEncoder) -> None:
    fooled = tiny_run(tiny, PGD(eps=32 / 255, step=8 / 255, steps=10))
    kind, sentence = verdict(fooled)
    assert kind == "fooled" and sentence.startswith("Fooled: “")
    assert percent(float(fooled.adversarial.probabilities.max())) in sentence
    below = tiny_run(tiny, PGD(eps=0.5 / 255, steps=2))
    assert verdict(below)[0] == "unchanged" and "8-bit" in verdict(below)[1]
    held = tiny_run(tiny, Noise(eps=1 / 255))
    assert verdict(held)[0] == "held" and "still" in verdict(held)[1]


def test_verdicts_of_targeted_and_label_free_goals(tiny: DualEncoder) -> None:
    strong = PGD(eps=32 / 255, step=8 / 255, steps=20)
    target = tiny_run(tiny, strong).adversarial.prediction
    into = tiny_run(tiny, strong, targets=target)
    assert verdict(into)[1].startswith("Fooled into the target")
    weak = tiny_run(tiny, Noise(eps=1 / 255), targets=target)
    assert verdict(weak)[0] == "held" and "the target has" in verdict(weak)[1]
    drift = tiny_run(tiny, PGD(eps=4 / 255), goal="embedding")
    assert "embedding turned by" in verdict(drift)[1]
    apart = tiny_run(tiny, PGD(eps=4 / 255), goal="similarity")
    assert "cosine to" in verdict(apart)[1]


def test_a_wrong_start_is_not_the_attackers_merit(tiny: DualEncoder) -> None:
    right = tiny_run(tiny, FGSM(eps=1 / 255))
    wrong = Pairs(right.images, right.captions, (right.labels + 1) % 4)
    kind, sentence = verdict(run(FGSM(eps=8 / 255), tiny, wrong))
    assert kind == "wrong" and sentence.startswith("Wrong before the attack")


def test_the_trail_holds_every_step(tiny: DualEncoder) -> None:
    result = tiny_run(tiny, PGD(eps=8 / 255, steps=5), record=True)
    frames = json.loads(trail_data(result))
    assert len(frames) == 6 and frames[0]["kind"] == "before"
    assert frames[-1]["sentence"] == esc(verdict(result)[1])
    assert all(abs(sum(f["p"]) - 1) < 1e-3 for f in frames)


def test_many_captions_keep_the_true_one_and_the_likeliest(tiny: DualEncoder) -> None:
    captions = tuple(f"thing number {i}" for i in range(40))
    pairs = Pairs(torch.full((1, 3, 32, 32), 90 / 255), captions, torch.tensor([39]))
    result = run(FGSM(eps=2 / 255), tiny, pairs)
    shown = shown_captions(result)
    assert len(shown) == 8 and 39 in shown and int(result.clean.prediction[0]) in shown


@pytest.mark.parametrize(("flip", "words"), [
    (None, "Looking"), (Flip(None, 16), "No ε up to 16/255"), (Flip(0, 16), "before any change"),
    (Flip(3, 16), "3/255"),
])
def test_flip_sentences(flip: Flip | None, words: str) -> None:
    assert words in flip_sentence(flip)


def test_a_targeted_flip_speaks_of_the_target() -> None:
    assert "reaches the target" in flip_sentence(Flip(2, 16), targeted=True)


# --- captions -----------------------------------------------------------------------------------

OWN = ("a photo of a cat", "a photo of a dog", "a photo of a car", "a photo of the sea")


def reworded(tiny: DualEncoder, attack: TextAttack | JointAttack, captions: tuple[str, ...] = OWN,
             **kwargs: object) -> Result:
    pairs = Pairs(tiny_run(tiny, FGSM(eps=0)).images, captions, torch.tensor([0]))
    return run(attack, tiny, pairs, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(("clean", "now", "html", "spoken"), [
    ("a cat", "a cat", "“a cat”", "unchanged"),
    ("a cat", "a dog", '“a <del class="rx-del">cat</del><ins class="rx-ins">dog</ins>”',
     "“cat” became “dog”"),
    ("a cat", "a cart", '“a ca<ins class="rx-ins">r</ins>t”', "“cat” became “cart”"),
    ("a big cat", "a cat", '“a <del class="rx-del">big </del>cat”', "“big” became “nothing”"),
    ("a <b> cat", "a <i> dog", '“a &lt;<del class="rx-del">b</del><ins class="rx-ins">i</ins>&gt; '
     '<del class="rx-del">cat</del><ins class="rx-ins">dog</ins>”', None),
])
def test_changed_words_are_marked(clean: str, now: str, html: str, spoken: str | None) -> None:
    assert caption_diff(clean, now) == html
    assert caption_diff(clean, now, quotes=False) == html.strip("“”")
    if spoken:
        assert diff_words(clean, now) == spoken


def test_a_template_sign_in_a_changed_caption_is_harmless() -> None:
    marked = caption_diff("a {cat} $1", "a {dog} $1 <script>")
    assert not {"{", "$", "<s"} & {marked[i : i + k] for i in range(len(marked)) for k in (1, 2)}


def test_facts_of_a_text_attack_are_about_words(tiny: DualEncoder) -> None:
    result = reworded(tiny, Typo(captions="all", objective="kl"))
    said = settings_line(result)
    assert said.startswith("1 word and ") and "L∞" not in said and "queries" in said
    assert f"of the two caption embeddings {float(result.text_cosine[0]):.2f}" in said
    both = settings_line(reworded(tiny, Separate(image=FGSM(eps=2 / 255), text=Typo())))
    assert "L∞ 2/255" in both and "1 word and " in both and "image embeddings" in both
    assert "word" not in settings_line(tiny_run(tiny, FGSM(eps=2 / 255)))
    assert [counted(n, "word") for n in (0, 1, 2)] == ["0 words", "1 word", "2 words"]


def with_words(result: Result, now: str, attack: str = "bert") -> Result:
    """The same result with another first caption."""
    row = (now, *result.captions[1:])
    return replace(result, adversarial_captions=(row,), attack=attack)


@pytest.mark.parametrize(("now", "attack", "warned"), [
    ("a photo of a lion", "bert", True), ("a picture of a cat", "bert", False),
    ("a photo of a cat", "bert", False), ("a photo of a CAT", "bert", False),
    ("a photo of a cta", "typo", False), ("a photo of a cxt", "character", False),
    ("a photo of a dog", "hotflip", True),
])
def test_a_lost_class_word_is_a_change_of_meaning(now: str, attack: str, warned: bool,
                                                  tiny: DualEncoder) -> None:
    note = class_word_note(with_words(reworded(tiny, Typo(words=0)), now, attack))
    assert bool(note) == warned
    if warned:
        assert "“cat”, which names the class" in note


@pytest.mark.parametrize(("attack", "captions", "sentence"), [
    (Typo(words=0), OWN, "the budget is zero"),
    (Typo(), ("it is", "a dog"), "has no word that this attack may exchange"),
    (Typo(protect=True), ("a cat", "a dog"), "ruled out all"),
    (Separate(image=FGSM(eps=0), text=Typo(words=0)), OWN, "the budget is zero"),
    (Separate(image=FGSM(eps=0), text=Typo()), ("it is", "a dog"), "has no word"),
    (Separate(image=FGSM(eps=0.5 / 255), text=Typo(words=0)), OWN, "below one grey level"),
])
def test_nothing_changed_says_why(attack: TextAttack | JointAttack, captions: tuple[str, ...],
                                  sentence: str, tiny: DualEncoder) -> None:
    kind, said = verdict(reworded(tiny, attack, captions))
    assert kind == "unchanged" and said.startswith("Nothing changed: ") and sentence in said


def test_nothing_better_is_said_of_the_half_that_could_move(tiny: DualEncoder) -> None:
    long = " ".join(["it"] * 40) + " cat"  # past what the tower reads
    text = verdict(reworded(tiny, Typo(), (long, "a dog")))[1]
    assert "does not see a word" in text and "does not read the caption to its end" in text
    joint = verdict(reworded(tiny, Separate(image=FGSM(eps=0), text=Typo()), (long, "a dog")))[1]
    assert joint == text


def test_verdicts_name_the_caption_as_the_model_met_it(tiny: DualEncoder) -> None:
    result = reworded(tiny, Typo(words=3, captions="all", objective="kl"))
    now = int(result.adversarial.prediction[0])
    if verdict(result)[0] != "wrong":
        assert result.adversarial_captions[0][now] in verdict(result)[1]
    moved = verdict(reworded(tiny, Typo(), goal="embedding"))[1]
    assert "the caption's by" in moved and "image embedding" not in moved
    both = verdict(reworded(tiny, Separate(image=PGD(eps=2 / 255), text=Typo()),
                            goal="embedding"))[1]
    assert "image embedding turned by" in both and "and the caption's by" in both


def test_the_trail_shows_each_wording(tiny: DualEncoder) -> None:
    result = reworded(tiny, Typo(words=3), goal="similarity", record=True)
    frames = json.loads(trail_data(result))
    assert len(frames) == len(result.frame_captions) > 1
    assert frames[0]["caption"] == "“a photo of a cat”" and frames[0]["kind"] == "before"
    assert frames[-1]["caption"] == caption_diff(OWN[0], result.own_captions()[1])
    assert frames[-1]["sentence"] == esc(verdict(result)[1])
    assert [f["step"] for f in frames] == list(range(len(frames)))
