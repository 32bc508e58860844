"""Where the arithmetic happens, and in which precision attack steps may run there."""

from __future__ import annotations

import torch


def device_and_dtype(device: str | None = None) -> tuple[torch.device, torch.dtype | None]:
    """The best device, and the dtype in which attack steps may run there (None: float32)."""
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else
                                     "mps" if torch.backends.mps.is_available() else "cpu"))
    if chosen.type == "mps":
        return chosen, None
    if chosen.type == "cuda":
        # Never float16: without loss scaling, gradients of pixels underflow to zero there, and
        # attacks look weaker than they are.
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return chosen, torch.bfloat16 if fast else None
    from torch.backends import cpu

    fast = "AVX512" in cpu.get_cpu_capability() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return chosen, torch.bfloat16 if fast else None


def describe_device() -> str:
    """One line for a person, such as "CPU, 2 threads, bfloat16 attack steps"."""
    device, dtype = device_and_dtype()
    fast = f", {str(dtype).removeprefix('torch.')} attack steps" if dtype else ""
    if device.type == "cuda":
        return f"GPU {torch.cuda.get_device_name(device)}{fast}"
    if device.type == "mps":
        return "Apple's GPU (mps); what PyTorch lacks there runs on the processor"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}{fast}"
