"""Signs of gradient masking for the case on the page, as HTML: what to check before believing
that a model held."""

from __future__ import annotations

from collections.abc import Iterator

from explorer.attacks.engine import Step
from explorer.attacks.gradient_masking import Effort, Sign, look_for_signs
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.models.library import Library
from explorer.results.outcome import Outcome
from explorer.results.views import esc, table

Found = list[tuple[str, tuple[Sign, ...] | str]]


def check_signs(library: Library, outcome: Outcome) -> Iterator[tuple[str, Step] | Found]:
    """Yields (model, Step), then for each model its signs, or why there are none to look for."""
    found: Found = []
    for part in outcome.parts:
        result = part.result
        if result is None:
            continue
        eps = float(result.settings.get("eps", 0)) if result.settings.get("norm") == "linf" else 0
        pairs = Pairs(result.images, result.captions, result.labels)
        try:
            for event in look_for_signs(library.load(result.model), pairs, result.seed,
                                        Effort(eps=max(eps, 1 / 255))):
                if isinstance(event, Step):
                    yield result.model, event
                else:
                    found.append((result.model, event))
        except InputError as error:
            found.append((result.model, str(error)))
    yield found


def draw_signs(found: Found) -> str:
    """One sentence, then a table: a row a sign and model."""
    rows, triggered = [], 0
    for model, signs in found:
        if isinstance(signs, str):
            rows.append([model, "not looked for", signs])
            continue
        for sign in signs:
            triggered += sign.triggered
            rows.append([model, f"{'WARNING' if sign.triggered else 'fine'}: {sign.name}",
                         sign.sentence])
    head = ("No sign that a model only hides its gradients; on one photo that is a hint, no proof."
            if not triggered else
            f"{triggered} sign{'s' if triggered > 1 else ''} that a model may only hide its "
            "gradients: do not believe that it held before other attacks have failed too.")
    said = "Signs of gradient masking"
    return (f'<section class="rx-transfer"><h3>{said}</h3><p>{esc(head)}</p>'
            f'{table(["Model", "Sign", "What was seen"], rows, said)}</section>')
