"""TTC: an attack on the attack. The picture is moved away from where the model puts it, when it
sits there more firmly than a clean picture would."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.attacks.defences.base import Defence, Eye, Look, Passes, setting
from explorer.base.randomness import PerImage


def shift(before: Tensor, after: Tensor) -> Tensor:
    """(N,) how far a feature went, over its length: |f(x + n) - f(x)| / |f(x)|."""
    moved: Tensor = (after - before).norm(dim=1) / before.norm(dim=1)
    return moved


def uniform_noise(x: Tensor, eps: float, random: PerImage) -> Tensor:
    """(N, 3, H, W) a change of at most eps, uniform, that stays in the picture's [0, 1]."""
    return (x + eps * (2 * random.uniform() - 1)).clamp(0, 1) - x


@dataclass(frozen=True)
class TTC(Defence):
    """A picture that random noise hardly moves in the model's space ("falsely stable") is attacked
    in turn, away from where it is; any other gets the noise alone.

    Deviations: distances are between unit features. For an attacker the counterattack has the slope
    of the identity: it is computed, and then held fixed.
    """

    title = "Counterattack (TTC)"
    source = ("Xing, Zhao, Sebe 2025 (TTC), CVPR, arXiv 2503.03613, equations 5 to 8; the weights "
              "of the steps as in the authors' code")
    random = True
    draws = 4

    eps: float = setting(4 / 255, "Budget ε", "of the counterattack: largest change of a pixel, in "
                         "grey levels", low=0.0, high=16 / 255, step=1 / 255, unit="/255")
    steps: int = setting(2, "Steps", "of the counterattack, each of one grey level", low=1, high=10,
                         step=1)
    threshold: float = setting(0.2, "Threshold τ", "a shift under noise below this is falsely "
                               "stable", low=0.0, high=2.0, step=0.01)
    growth: float = setting(2.0, "Weight β of later steps", "each step counts exp(β) times the one "
                            "before", low=0.0, high=10.0, step=0.5)

    @property
    def passes(self) -> Passes:
        return Passes(2 + self.steps, self.steps)

    def counter(self, look: Look, x: Tensor, random: PerImage) -> Tensor:
        """(N, 3, H, W) the change that is added."""
        x = x.detach()
        delta = uniform_noise(x, self.eps, random)
        with torch.no_grad():
            home = look(x)
        found, stable = [delta], torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for step in range(self.steps):
            with torch.enable_grad():
                moving = delta.requires_grad_(True)
                away = look(x + moving)
                (grad,) = torch.autograd.grad((away - home).square().sum(), moving)
            if step == 0:
                stable = shift(home, away.detach()) < self.threshold
            delta = (delta.detach() + grad.sign() / 255).clamp(-self.eps, self.eps)
            delta = (x + delta).clamp(0, 1) - x
            found.append(delta)
        weights = torch.softmax(self.growth * torch.arange(len(found), device=x.device), 0)
        both = sum(w * d.detach() for w, d in zip(weights, found, strict=True))
        assert isinstance(both, Tensor)
        return torch.where(stable.view(-1, 1, 1, 1), both, found[0].detach())

    def read(self, eye: Eye, x: Tensor, random: PerImage) -> Tensor:
        return eye.look((x + self.counter(eye.look, x, random)).clamp(0, 1))
