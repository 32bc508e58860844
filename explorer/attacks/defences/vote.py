"""Randomised smoothing: many noisy copies of a picture vote, and from the count follows a radius
within which no change can alter the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.attacks.defences.base import Defence, Eye, Passes, setting, unit_mean
from explorer.base.randomness import PerImage

CHUNK = 16  # noisy copies of all pictures that are made at once


def clopper_pearson(hits: int, n: int, alpha: float) -> float:
    """The lower end of a one-sided interval of a share, with confidence 1 - alpha (Clopper and
    Pearson 1934); 0 for no hit."""
    from scipy.stats import beta

    return float(beta.ppf(alpha, hits, n - hits + 1)) if hits else 0.0


def radius_of(hits: int, n: int, sigma: float, alpha: float) -> float | None:
    """Certified L2 radius, pixels in 0 to 1, when `hits` of n noisy copies give the answer; None
    where it abstains, as the share may be a half (Cohen et al. 2019, theorem 1 with p_B = 1 - p_A).
    """
    from scipy.stats import norm

    low = clopper_pearson(hits, n, alpha)
    return sigma * float(norm.ppf(low)) if low > 0.5 else None


def undecided(first: int, second: int, alpha: float) -> bool:
    """Whether the two leading counts may have come about by chance (Cohen et al. 2019, PREDICT; the
    test of Hung and Fithian 2019)."""
    from scipy.stats import binomtest

    both = first + second
    return both == 0 or float(binomtest(first, both, 0.5).pvalue) > alpha


@dataclass(frozen=True)
class Ballot:
    """One picture's vote. counts: of each caption; answer: the caption with most, None where it
    abstains; radius: certified in L2, pixels in 0 to 1, None where it cannot be certified."""

    counts: tuple[int, ...]
    answer: int | None
    radius: float | None

    def sentence(self) -> str:
        votes = sum(self.counts)
        if self.answer is None:
            return f"Abstains: the votes are too close ({max(self.counts)} of {votes})."
        said = f"{max(self.counts)} of {votes} votes"
        if self.radius is None:
            return f"{said}; too few to certify a radius."
        return f"{said}; no change of an L2 length below {self.radius:.2f} can alter this."


@dataclass(frozen=True)
class NoiseVote(Defence):
    """Copies of the picture with Gaussian noise vote for a caption, and most votes win.

    The answer is given as the mean feature of the copies that voted for it, which is closest to
    that caption too. Deviations: votes in the hundreds, where the paper takes 100,000, so radii are
    smaller; where there are no captions, and for an attacker, all copies are averaged.
    """

    title = "Noise and vote (smoothing)"
    source = "Cohen, Rosenfeld, Kolter 2019, arXiv 1902.02918, section 3.2, PREDICT and CERTIFY"
    random = True

    sigma: float = setting(0.1, "Noise σ", "its standard deviation, pixels in 0 to 1", low=0.01,
                           high=1.0, step=0.01)
    votes: int = setting(64, "Votes", "noisy copies that are read", low=2, high=1000, step=1)
    alpha: float = setting(0.001, "Error α", "how often a certificate may be wrong", low=1e-6,
                           high=0.5, step=0.001)

    @property
    def passes(self) -> Passes:
        return Passes(self.votes)

    def cheaper(self) -> Self:
        return replace(self, votes=min(self.votes, 16))

    def _each(self, eye: Eye, x: Tensor, random: PerImage) -> Tensor:
        """(N, V, D) features of the noisy copies, some at a time. Copies are not clipped, as the
        theorem asks for."""
        found = []
        for start in range(0, self.votes, CHUNK):
            some = range(start, min(start + CHUNK, self.votes))
            noisy = torch.stack([x + self.sigma * random.normal() for _ in some], 1)
            found.append(eye.look(noisy.flatten(0, 1)).unflatten(0, noisy.shape[:2]))
        return torch.cat(found, 1)

    def read(self, eye: Eye, x: Tensor, random: PerImage) -> Tensor:
        features = self._each(eye, x, random)
        if eye.text is None or eye.smooth:
            return unit_mean(features)
        said = (features @ eye.text.T).argmax(2)
        winner = F.one_hot(said, len(eye.text)).sum(1).argmax(1)
        return unit_mean(features, (said == winner[:, None]).to(features))

    def ballots(self, look: Callable[[Tensor], Tensor], x: Tensor, text: Tensor, seed: int = 0,
                ) -> list[Ballot]:
        """What each picture's vote is worth. x: (N, 3, H, W); text: (K, D). The first quarter of
        the votes chooses the caption that the others certify."""
        with torch.no_grad():
            features = self._each(Eye(look, text), x, PerImage(seed, x))
        return [self._ballot(row, len(text)) for row in (features @ text.T).argmax(2)]

    def _ballot(self, said: Tensor, captions: int) -> Ballot:
        counts = torch.bincount(said, minlength=captions)
        top = counts.sort(descending=True).values.tolist()
        guess = torch.bincount(said[: max(1, self.votes // 4)], minlength=captions).argmax()
        rest = said[max(1, self.votes // 4):]
        radius = radius_of(int((rest == guess).sum()), len(rest), self.sigma, self.alpha)
        second = top[1] if len(top) > 1 else 0
        answer = None if undecided(top[0], second, self.alpha) else int(counts.argmax())
        return Ballot(tuple(counts.tolist()), answer, radius)
