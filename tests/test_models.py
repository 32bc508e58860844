"""The real loading path, offline: folders like those people have, whole and damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from helpers import CAPTIONS, TINY, grid_images, tiny_clip
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor

from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.base.device import describe_device, device_and_dtype
from explorer.base.errors import InputError
from explorer.base.paths import ASSETS
from explorer.base.settings import Settings
from explorer.data.pairs import Pairs, to_image
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import DepthwiseConv2d
from explorer.models.library import Library
from explorer.models.loaders import CONFIG, SAFE

WEIGHTS = SAFE[0]
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def save_folder(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> Path:
    """An open_clip folder with weights in fp16, as they are shipped."""
    folder.mkdir(parents=True)
    whole = {"model_cfg": config, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / CONFIG).write_text(json.dumps(whole), "utf-8")
    save_file({k: v.half().contiguous() for k, v in state.items()}, folder / WEIGHTS)
    return folder


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ViT-B/32's keys at a fraction of its width."""
    return save_folder(tmp_path_factory.mktemp("models") / "vit", TINY, tiny_clip(3).state_dict())


def load(folder: Path) -> DualEncoder:
    return Library().load(f"local-dir:{folder}", "cpu")


def compare(folder: str, model: DualEncoder, tolerance: float) -> None:
    """Our features against those of plain open_clip, from a picture of the model's own size."""
    theirs, preprocess = open_clip.create_model_from_pretrained(folder)
    theirs.eval()  # it comes in training mode
    tokenize = open_clip.get_tokenizer(folder)
    images = grid_images(2, model.size)
    batch = torch.stack([preprocess(to_image(p)) for p in images])
    with torch.no_grad():
        want_image = theirs.encode_image(batch, normalize=True)
        want_text = theirs.encode_text(tokenize(list(CAPTIONS)), normalize=True)
        got_image = model.encode_image(images)
    torch.testing.assert_close(got_image, want_image, atol=tolerance, rtol=0)
    torch.testing.assert_close(model.encode_text(CAPTIONS), want_text, atol=tolerance, rtol=0)
    assert model.scale == pytest.approx(float(theirs.logit_scale.detach().exp()), rel=1e-6)


def test_a_folder_gives_open_clips_features(vit: Path) -> None:
    model = load(vit)
    compare(f"local-dir:{vit}", model, 1e-5)
    assert (model.size, model.dim, model.card.id) == (32, 16, f"local-dir:{vit}")
    assert model.mean.flatten().tolist() == pytest.approx(MEAN)
    assert model.std.flatten().tolist() == pytest.approx(STD)


def test_a_whole_vit_b_32(tmp_path: Path) -> None:
    config = open_clip.get_model_config("ViT-B-32")
    assert config is not None
    clip = open_clip.create_model("ViT-B-32")
    folder = save_folder(tmp_path / "vit-b-32", config, clip.state_dict())
    compare(f"local-dir:{folder}", load(folder), 1e-4)


@pytest.mark.parametrize("name", ["pocket", "pocket-robust"])
def test_plain_open_clip_opens_the_embedded_models(name: str, library: Library,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    model = library.load(name, "cpu")
    monkeypatch.chdir(ASSETS / "models" / name)
    compare("local-dir:.", model, 1e-4)


def test_a_dual_encoder_keeps_its_promises(pocket: DualEncoder, cat: Pairs) -> None:
    with torch.no_grad():
        image, fast = pocket.encode_image(cat.images), pocket.encode_image(cat.images, fast=True)
    assert image.dtype == fast.dtype == torch.float32
    torch.testing.assert_close(image.norm(dim=1), torch.ones(1))
    assert float((image * fast).sum()) > 0.99
    assert not any(p.requires_grad for p in pocket.clip.parameters())
    assert not any(m.training for m in pocket.clip.modules())
    assert any(isinstance(m, DepthwiseConv2d) for m in pocket.clip.modules())
    text = pocket.encode_text(["a cat", "a dog", "a cat"])
    assert torch.equal(text[0], text[2]) and not torch.equal(text[0], text[1])
    assert not text.requires_grad
    assert "CPU" in describe_device() or "GPU" in describe_device()


def test_captions_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch,
                                                vit: Path) -> None:
    model = load(vit)
    monkeypatch.setattr("explorer.models.encoder.TEXT_CACHE", 5)
    captions = [f"thing {k}" for k in range(12)]
    first = model.encode_text(captions)
    assert first.shape == (12, 16) and len(model._texts) == 5
    torch.testing.assert_close(model.encode_text(captions), first)


def test_captions_read_in_low_precision_are_near_and_kept_apart(pocket: DualEncoder) -> None:
    captions = ["a striped heron at dusk", "a photo of a teapot"]
    fast, again = pocket.skim_text(captions), pocket.skim_text(captions[::-1])
    full = pocket.encode_text(captions)
    assert torch.equal(fast, again.flip(0))
    assert torch.equal(fast, full) == (pocket.fast_dtype is None)
    assert float((fast * full).sum(1).min()) > 0.999
    assert torch.equal(full, pocket.encode_text(captions))


# --- refusals -------------------------------------------------------------------------------


def refused(say: str, act: Callable[[], object]) -> None:
    """One InputError of one line, with no trace of the machinery."""
    with pytest.raises(InputError, match=say) as error:
        act()
    text = str(error.value)
    assert "\n" not in text and "Traceback" not in text and 10 < len(text) < 400
    assert error.value.__cause__ is None


def edit_config(**changes: Any) -> Callable[[Path], None]:
    """Sets dotted keys of model_cfg; None takes a key away."""
    def edit(folder: Path) -> None:
        whole = json.loads((folder / CONFIG).read_text("utf-8"))
        for dotted, value in changes.items():
            *path, last = dotted.split("__")
            part = whole["model_cfg"]
            for key in path:
                part = part[key]
            if value is None:
                part.pop(last)
            else:
                part[last] = value
        (folder / CONFIG).write_text(json.dumps(whole), "utf-8")
    return edit


def edit_weights(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        change(state)
        save_file(state, folder / WEIGHTS)
    return edit


def write(name: str, text: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).write_text(text, "utf-8")
    return edit


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "open_clip_pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def halved(folder: Path) -> None:
    raw = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(raw[: len(raw) // 2])


KEY = "visual.ln_post.weight"
CARD = {"id": "a", "title": "A", "kind": "standard", "licence": "none", "about": "Random."}
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / CONFIG).unlink(), "has no open_clip_config.json"),
    "malformed JSON": (write(CONFIG, '{"model_cfg": {'), "cannot read open_clip_config.json"),
    "JSON of another kind": (write(CONFIG, "[1, 2]"), "no JSON object"),
    "endless JSON": (write(CONFIG, "[" * 100_000), "cannot read open_clip_config.json"),
    "not text": (lambda f: (f / CONFIG).write_bytes(b"\xff\xfe\x00"), "cannot read"),
    "empty config": (write(CONFIG, "{}"), "no model_cfg"),
    "text as a word": (edit_config(text_cfg="large"), "no model_cfg with a vision_cfg"),
    "no text tower": (edit_config(text_cfg=None), "no model_cfg with a vision_cfg"),
    "no image tower": (edit_config(vision_cfg=None), "no model_cfg with a vision_cfg"),
    "unknown key": (edit_config(colour="red"), "open_clip can build: .*colour"),
    "unknown key below": (edit_config(vision_cfg__colour="red"), "can build: .*colour"),
    "unknown tower": (edit_config(vision_cfg__timm_model_name="no_such_net"), "can build: .*Unkn"),
    "no pixels": (edit_config(vision_cfg__image_size=0), "can build|does not run|architecture"),
    "unknown text tower": (edit_config(text_cfg__hf_model_name="nobody/nothing"), "can build"),
    "short tokens": (edit_config(text_cfg__context_length=1), "another architecture|does not run"),
    "bad mean": (write(CONFIG, json.dumps({"model_cfg": TINY, "preprocess_cfg": {"mean": [1]}})),
                 "mean and a std of three"),
    "preprocessing as a list": (
        write(CONFIG, json.dumps({"model_cfg": TINY, "preprocess_cfg": ["mean"]})),
        "preprocess_cfg of .* is no JSON object"),
    "tokenizer option": (edit_config(text_cfg__tokenizer_kwargs={"bpe_path": "x"}),
                         "may only set clean, language, strip_sep_token"),
    "tokenizer options as a list": (edit_config(text_cfg__tokenizer_kwargs=["clean"]),
                                    "may only set clean"),
    "zero std": (write(CONFIG, json.dumps({"model_cfg": TINY,
                                           "preprocess_cfg": {"std": [0, 1, 1]}})), "std above 0"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "a config but no weights"),
    "pickle only": (pickled, "only pickled weights.*run code"),
    "cut weights": (halved, "are damaged"),
    "text for weights": (write(WEIGHTS, "not a model at all"), "are damaged"),
    "missing tensor": (edit_weights(lambda s: s.pop(KEY)), f"1 tensors missing.*{KEY}"),
    "extra tensor": (edit_weights(lambda s: s.update(extra=torch.ones(2))), "1 unknown.*extra"),
    "another shape": (edit_weights(lambda s: s.update({KEY: torch.ones(33)})),
                      f"1 of another shape.*{KEY}"),
    "another tower": (edit_config(vision_cfg__layers=3), "another architecture: 12 tensors miss"),
    "NaN": (edit_weights(lambda s: s[KEY].fill_(float("nan"))), "not finite"),
    "infinity": (edit_weights(lambda s: s["text_projection"].fill_(float("inf"))), "not finite"),
    "incomplete card": (write("card.json", '{"title": "x"}'), "card.json of .* is incomplete"),
    "a list for an id": (write("card.json", json.dumps({**CARD, "id": ["a"]})), "id must be text"),
    "a number for a base": (write("card.json", json.dumps({**CARD, "base": 3})),
                            "base must be text or null"),
    "another kind": (write("card.json", json.dumps({**CARD, "kind": "odd"})),
                     "kind must be standard or robust"),
    "a list for numbers": (write("card.json", json.dumps({**CARD, "numbers": []})),
                           "numbers must be a JSON object"),
    "a list for a card": (write("card.json", "[]"), "cannot read card.json"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_folders_are_refused(name: str, vit: Path, tmp_path: Path) -> None:
    damage, say = DAMAGE[name]
    folder = Path(shutil.copytree(vit, tmp_path / "mine"))
    library = Library([tmp_path])
    damage(folder)
    refused(say, lambda: library.load(f"local-dir:{folder}", "cpu"))
    assert "pocket" in library.cards(), "one bad folder must not hide the other models"
    assert load(vit).dim == 16


@pytest.mark.parametrize("part", ["tokenizer", "tokenizer, unasked", "text tower", "model type"])
def test_a_folder_runs_no_code(part: str, vit: Path, tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when somebody says yes to transformers' question."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", tmp_path / "modules")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    folder, marker = Path(shutil.copytree(vit, tmp_path / "evil")), tmp_path / "it ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Evil: pass\n")
    text: dict[str, Any] = {"context_length": 16, "hf_tokenizer_name": "."}
    if part.startswith("tokenizer"):
        text |= dict(TINY["text_cfg"])  # type: ignore[call-overload]
        if part == "tokenizer":
            text["tokenizer_kwargs"] = {"trust_remote_code": True}
        write("tokenizer_config.json", json.dumps({
            "tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))(folder)
        write("config.json", '{"model_type": "bert"}')(folder)
    else:
        text |= {"hf_model_name": "."}
        kind = "evil" if part == "model type" else "pop2piano"  # known, but AutoModel has none
        write("config.json", json.dumps({"model_type": kind, "auto_map": {
            "AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}}))(folder)
    edit_config(text_cfg=text)(folder)
    refused("may only set|can build|tokenizer of evil cannot", lambda: load(folder))
    assert not marker.exists()


def test_pickle_is_passed_over_where_safetensors_exists(vit: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(vit, tmp_path / "both"))
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert load(folder).dim == 16


@pytest.mark.parametrize(("source", "say"), [
    ("local-dir:/nowhere/at/all", "no model folder"), ("ftp:x", "unknown kind of source 'ftp'"),
    ("", "unknown kind of source"), ("hf-hub:nobody/nothing", "cannot fetch the model nobody/noth"),
    ("hf-hub:not a name", "cannot fetch"), ("transformers:nobody/nothing", "cannot fetch"),
    ("open_clip:ViT-B-32:no_such_tag", "cannot fetch"), ("open_clip:No-Such-Net:openai", "cannot"),
    ("open_clip:ViT-B-32:", "cannot fetch"),
])
def test_sources_that_cannot_be_opened(source: str, say: str) -> None:
    from explorer.models.loaders import open_model

    card = Card("mine", "Mine", "standard", source, "none", "none")
    refused(say, lambda: open_model(card, "cpu"))


def test_unknown_names_are_refused(library: Library, tmp_path: Path) -> None:
    refused("no model 'gpt'; known are pocket", lambda: library.load("gpt"))
    refused("no model ''", lambda: library.card(""))
    refused("no model in the folder ..: it has no open_clip_config", lambda: library.card(".."))
    refused("no model folder ../x", lambda: library.card("../x"))
    refused("no model folder", lambda: library.load(f"local-dir:{tmp_path / 'none'}"))


def test_missing_folders_of_models_are_refused(tmp_path: Path) -> None:
    refused("there is no models folder .*none", lambda: Library([tmp_path / "none"]))


@pytest.mark.parametrize("entries", [
    None, {"id": "a"}, ["a"], [{**CARD}], [{**CARD, "source": 1}],
    [{**CARD, "source": "", "id": ["a"]}],
])
def test_a_damaged_list_of_cards_is_refused(entries: Any, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write("models/cards.json", json.dumps({"cards": entries}))(tmp_path)
    refused("cards.json", Library(assets=tmp_path).cards)


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_steps_in_bfloat16_or_float32(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older GPUs emulate bfloat16; float16 loses gradients."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported",
                        lambda including_emulation=True: native or including_emulation)
    assert device_and_dtype("cuda")[1] == (torch.bfloat16 if native else None)


def test_apples_gpu_is_used_where_it_is_and_what_it_lacks_is_said(
        vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine of ours has one, so here the model cannot go there, and falls back in earnest."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device_and_dtype() == (torch.device("mps"), None)
    assert describe_device().startswith("Apple's GPU (mps)")
    model = Library().load(str(vit))
    assert model.device.type == "cpu" and model.dim == 16
    (note,) = model.notes
    assert "runs on the processor: Apple's GPU (mps) lacks what it needs (" in note
    pair = Pairs(grid_images(1, 32), CAPTIONS, torch.tensor([0]))
    assert run(PGD(), model, pair).notes == (note,)


# --- transformers ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def hugging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random transformers CLIPModel in its own layout."""
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 49408, "max_position_embeddings": 20,
                     "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 1},
        vision_config={**small, "image_size": 32, "patch_size": 8}, projection_dim=24)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp("transformers") / "clip"
        CLIPModel(config).save_pretrained(folder)
    return folder


def open_transformers(folder: Path) -> DualEncoder:
    from explorer.models.loaders import open_model

    card = Card("hugging", "Hugging", "robust", f"transformers:{folder}", "none", "none")
    return open_model(card, "cpu")


def test_the_transformers_layout(hugging: Path) -> None:
    from transformers import CLIPModel

    model = open_transformers(hugging)
    assert (model.size, model.dim) == (32, 24)
    theirs = CLIPModel.from_pretrained(hugging).eval()
    images = grid_images(2, 32)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    tokens = SimpleTokenizer(context_length=20)(list(CAPTIONS))
    with torch.no_grad():
        got = model.encode_image(images)
        want = F.normalize(theirs.get_image_features(pixel_values=(images - mean) / std), dim=1)
        text = F.normalize(theirs.get_text_features(input_ids=tokens), dim=1)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.encode_text(CAPTIONS), text, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("change", "say"), [
    (lambda s: s.pop("visual_projection.weight"), "do not fill the model"),
    (lambda s: s["visual_projection.weight"].fill_(float("nan")), "not finite"),
    (lambda s: s.update({"visual_projection.weight": torch.ones(3, 3)}), "cannot|do not fill"),
])
def test_damaged_transformers_folders(change: Callable[[dict[str, Tensor]], object], say: str,
                                      hugging: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(hugging, tmp_path / "clip"))
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    refused(say, lambda: open_transformers(folder))


# --- the library of cards -------------------------------------------------------------------


def listed() -> list[dict[str, Any]]:
    cards: list[dict[str, Any]] = json.loads(
        (ASSETS / "models" / "cards.json").read_text("utf-8"))["cards"]
    return cards


@pytest.mark.parametrize("name", [c["id"] for c in listed()])
def test_listed_models_are_refused_while_the_hub_is_away(name: str, library: Library) -> None:
    card = library.card(name)
    refused("cannot fetch the model .*hub is not reachable", lambda: library.load(name, "cpu"))
    assert card.licence and card.about and card.architecture
    assert card.base is None or library.card(card.base).kind == "standard"


def test_listed_architectures_exist() -> None:
    for raw in listed():
        scheme, _, rest = raw["source"].partition(":")
        if scheme == "open_clip":
            architecture, _, tag = rest.partition(":")
            assert (architecture, tag) in open_clip.list_pretrained()


def test_pairs_are_offered_embedded_first(library: Library) -> None:
    assert library.pairs()[0] == ("pocket", "pocket-robust")
    assert set(library.pairs()) >= {
        ("vit-b-32-laion2b", "fare4-vit-b-32"), ("vit-b-32-laion2b", "tecoa4-vit-b-32"),
        ("vit-l-14-openai", "fare2-vit-l-14"), ("vit-l-14-openai", "tecoa2-vit-l-14"),
        ("vit-l-14-openai", "leaf-fare2-vit-l-14")}
    cards = library.cards()
    for standard, robust in library.pairs():
        assert (cards[standard].kind, cards[robust].kind) == ("standard", "robust")


def test_a_fine_tuned_folder_joins_its_base(vit: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(vit, tmp_path / "runs" / "tuned"))
    (folder / "card.json").write_text(json.dumps({
        "id": "tuned", "title": "Tuned", "kind": "robust", "base": "pocket", "licence": "mine",
        "about": "a test", "steps": 3}), "utf-8")
    library = Library([tmp_path / "runs"])
    assert ("pocket", "tuned") in library.pairs()
    assert library.load("tuned", "cpu").card.title == "Tuned"
    (folder / "card.json").write_text("{", "utf-8")
    assert ("pocket", "tuned") not in library.pairs()
    refused("cannot read card.json", lambda: Library([tmp_path / "runs"]).card("tuned"))


def test_models_are_loaded_once_and_the_oldest_goes(vit: Path, tmp_path: Path) -> None:
    library = Library(assets=tmp_path, keep=2)
    names = [f"local-dir:{shutil.copytree(vit, tmp_path / str(k))}" for k in range(3)]
    first, second = library.load(names[0], "cpu"), library.load(names[1], "cpu")
    assert library.load(names[0], "cpu") is first  # used again, so the second is now the oldest
    library.load(names[2], "cpu")
    assert library.load(names[0], "cpu") is first
    assert library.load(names[1], "cpu") is not second


def test_a_compiled_tower_sees_and_climbs_the_same(
    vit: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, images = load(vit), grid_images(2, 32)
    monkeypatch.setattr("explorer.models.encoder.current", lambda: Settings(compile="aot_eager"))
    compiled = load(vit)
    assert compiled._compiled is not None and plain._compiled is None
    assert compiled.fingerprint == plain.fingerprint
    found = []
    for model in (plain, compiled):
        x = images.clone().requires_grad_()
        features = model.encode_image(x)
        found.append((features.detach(), *torch.autograd.grad(features[:, 0].sum(), x)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_compiler_that_fails_is_said(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(look: object, backend: str) -> Callable[[Tensor], Tensor]:
        def fails(x: Tensor) -> Tensor:
            raise RuntimeError("no compiler")

        return fails

    monkeypatch.setattr("explorer.models.encoder.current", lambda: Settings(compile="inductor"))
    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(InputError, match="EXPLORER_COMPILE=inductor does not work here"):
        load(vit)
