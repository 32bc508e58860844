"""The Embedding space tab alone, with a real attack in each visitor's store: for its browser tests.

python tests/browser/space_app.py PORT
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import gradio as gr
import torch

from explorer.attacks.image.classic import PGD, Noise
from explorer.attacks.run import run
from explorer.base.store import Store
from explorer.data.examples import load_examples
from explorer.data.pairs import one_pair, open_image
from explorer.models.library import Library
from explorer.results.outcome import Outcome, Part
from explorer.ui.embedding.tab import SpaceTab
from explorer.ui.shell import PAIR, launch_options


def attacked(library: Library, eps: float = 4 / 255) -> Outcome:
    """PGD on the cat by both embedded models, with its noise control."""
    cat = load_examples()["cat"]
    outcome = Outcome(cat.alt, [Part(library.card(name)) for name in PAIR])
    for part in outcome.parts:
        model = library.load(part.card.id)
        pair = one_pair(open_image(cat.path), cat.captions, cat.true, model.size)
        part.result = run(PGD(eps=eps), model, pair, record=True)
        part.noise = run(Noise(eps=eps), model, pair)
    return outcome


def main() -> None:
    torch.set_num_threads(1)
    library, store = Library(), Store[Outcome]()
    first, second = attacked(library), attacked(library, 1 / 255)

    def put(request: gr.Request) -> None:
        store.put(str(request.session_hash), first)

    def again(request: gr.Request) -> None:
        store.put(str(request.session_hash), second)

    with gr.Blocks(analytics_enabled=False) as demo:
        with gr.Tabs():
            with gr.Tab("Attack"):
                button = gr.Button("Attack again", elem_id="again")
            with gr.Tab("Embedding space"):
                space = SpaceTab(demo, library, store)
        demo.load(put, queue=False)
        ready = button.click(again, queue=False, api_visibility="private")
        space.follow(ready.then)
    demo.launch(server_port=int(sys.argv[1]), **launch_options())


if __name__ == "__main__":
    main()
