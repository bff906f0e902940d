"""bfloat16 products in training, where the processor has them: half the bytes, sums and losses still in float32.

A head's step takes two fifths of its time so with AVX-512's bfloat16; a processor without it would be slower.
"""

from __future__ import annotations

import torch


def gains(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def products(device: torch.device, *, mixed: bool) -> torch.autocast:
    """A context in which matrix products are in bfloat16, if that is wanted and gains; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed and gains(device))
