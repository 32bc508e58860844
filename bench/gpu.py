"""The first thing to run where there is a GPU: python -m bench.gpu. Fills docs/gpu.md.

Checks every attack, defence and training method against the processor's result, then times PGD on
batches of 1, 32 and 256 pictures as it is, compiled, and in CUDA graphs. Ends with status 1 where
something differs. --device cpu does the same on the processor, where all must agree.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import chain
from pathlib import Path

import torch

from bench.gpu_checks import Check, attacks, defences, trainings
from bench.gpu_times import ON_CUDA, PLAIN, WAYS, Time, times
from explorer.base.errors import InputError
from explorer.data.examples import load_examples
from explorer.data.pairs import Pairs, one_pair, open_image
from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library

PAGE = Path(__file__).resolve().parent.parent / "docs" / "gpu.md"
PICTURES = 6  # examples, for the checks


def pairs_of(model: DualEncoder, count: int = PICTURES) -> Pairs:
    """Example photos, each with its true caption, all captions for all."""
    examples = list(load_examples().values())[:count]
    captions = tuple(e.captions[e.true] for e in examples)
    ones = [one_pair(open_image(e.path), captions, k, model.frame)
            for k, e in enumerate(examples)]
    return Pairs(torch.cat([one.images for one in ones]), captions,
                 torch.cat([one.labels for one in ones]))


def checks(here: DualEncoder, there: DualEncoder, pairs: Pairs) -> Iterator[Check]:
    """All of them, in float32 on both sides."""
    for model in (here, there):
        model.fast_dtype = None
    return chain(attacks(here, there, pairs), defences(here, there, pairs),
                 trainings(here, there, pairs))


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        kind = torch.cuda.get_device_properties(device)
        said = (f"{kind.name}, {kind.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, "
                f"against the processor ({platform.machine()})")
    else:
        said = f"the processor against itself ({platform.machine()}): no GPU was there"
    return f"{said}; torch {torch.__version__}, {date.today().isoformat()}"


def page(device: torch.device, name: str, found: Sequence[Check], timed: Sequence[Time]) -> str:
    differ = [c for c in found if not c.agrees]
    verdict = (f"All {len(found)} checks agree." if not differ else
               f"{len(differ)} of {len(found)} checks differ: "
               f"{', '.join(f'{c.what} {c.name}' for c in differ)}.")
    lines = [
        "# On a GPU", "", f"Written by `python -m bench.gpu` on {machine(device)}. Model: {name}.",
        "", "## The same answers", "",
        "Float32 on both sides, the same seeds, attacks with few steps. Attacks agree when they "
        "fool the same pictures but for one and leave the true caption as likely within 0.05; "
        "features within 0.001; training losses within 2 %, gradients with a cosine of 0.98. "
        f"**{verdict}**", "",
        "| what | name | agrees | compared | processor | device |", "|---|---|---|---|---|---|",
        *(f"| {c.what} | `{c.name}` | {'yes' if c.agrees else '**no**'} | {c.said} | "
          f"{c.seconds[0]:.2f} s | {c.seconds[1]:.2f} s |" for c in found),
        "", "## Time", "",
        "PGD, 10 steps, a whole run with its scoring, on the device: medians of five after one run "
        "that compiles.", "",
        "| pictures | precision | tower | a run | a picture | against plain | first run | fooled |",
        "|---|---|---|---|---|---|---|---|", *_timed(timed), ""]
    return "\n".join(lines)


def _timed(timed: Sequence[Time]) -> Iterator[str]:
    plain = {(t.batch, t.dtype): t.seconds for t in timed if t.way == PLAIN and not t.fault}
    for t in timed:
        start = f"| {t.batch} | {t.dtype} | {t.way} |"
        if t.fault:
            yield f"{start} fails: {t.fault} | | | | |"
            continue
        base = plain.get((t.batch, t.dtype), 0.0)
        yield (f"{start} {t.seconds * 1000:.0f} ms | {t.seconds * 1000 / t.batch:.1f} ms | "
               f"{base / t.seconds:.2f} x | {t.first:.1f} s | {t.success} |")


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu")
    parser.add_argument("--model", default="pocket", help="a name or a folder of a model")
    parser.add_argument("--batches", default="1,32,256", help="pictures at once, by comma")
    parser.add_argument("--ways", default=",".join(ON_CUDA), help=f"of {', '.join(WAYS)}")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=PICTURES, help="for the checks")
    parser.add_argument("--out", type=Path, default=PAGE)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    args = arguments(given)
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("error: PyTorch finds no CUDA GPU here; --device cpu does the same on the processor",
              file=sys.stderr)
        return 2
    keep_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        # Each side has a library of its own: on the processor they would be one model.
        here, there = (Library().load(args.model, d) for d in ("cpu", args.device))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    fast, pairs, found = there.fast_dtype, pairs_of(here, args.pictures), list[Check]()
    for check in checks(here, there, pairs):
        found.append(check)
        print(f"{'agrees ' if check.agrees else 'DIFFERS'} {check.what} {check.name}: "
              f"{check.said}", flush=True)
    there.fast_dtype = fast
    timed = times(there, pairs, [int(n) for n in args.batches.split(",")],
                  args.ways.split(","), args.repeats)
    args.out.write_text(page(device, args.model, found, timed), encoding="utf-8")
    print(f"written: {args.out}")
    return 0 if all(check.agrees for check in found) else 1


if __name__ == "__main__":
    sys.exit(main())
