"""Compiles the loss's kernels for GPUs that are not here, down to their machine code.

    python compile_for_gpus.py CAPABILITY... [--few]      such as 70 80 90

Run apart from tests, which have Triton interpret its kernels. Prints a line for each
kernel with the bytes of its code.
"""

import sys
from itertools import product
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from medseg.losses import triton_derivatives, triton_kernels

OUTPUTS = 3
INTEGERS = {"V", "sn", "sc", "sv", "D1", "D2", "D3", "on", "oc", "ov", "first_block"}
"""Arguments with a number for each output."""

DERIVATIVES = {
    "WEIGHTS": (4 / 7, 2 / 7, 1 / 7),
    "REGION_WEIGHT": 1.0,
    "FIRST": 1,
    "BATCH": False,
    "SKIP_EMPTY": True,
    "ALPHA": 0.3,
    "BETA": 0.7,
    "EXPONENT": 0.75,
    "VOLUME_POWER": 2,
    "SMOOTH_NR": 1e-5,
    "SMOOTH_DR": 1e-5,
    "VOXEL_WEIGHT": 1.0,
    "WEIGHTED_MEAN": True,
    "CHANNEL_WEIGHT": 1.0,
    "BLOCK_C": 4,
}


def passes(kind: str, *, sigmoid: bool) -> dict[str, Any]:
    block_c = 4 if kind != "fp32" else 256
    return {
        "SIGMOID": sigmoid,
        "SQUARED": sigmoid,
        "HAS_VOXEL": not sigmoid,
        "VOXEL_GAMMA": 2.0,
        "HAS_CHANNEL": True,
        "CHANNEL_GAMMA": 1.5,
        "BLOCK_C": block_c,
        "BLOCK_V": 4096 // block_c,
    }


def type_of(name: str, kind: str) -> Any:
    """Triton's name of the type of an argument."""
    if name in {"logits_ptrs", "out_ptrs"}:
        return (f"*{kind}",) * OUTPUTS
    if name in INTEGERS:
        return ("i32",) * OUTPUTS
    pointers = {
        "target_ptr": "*u8",
        "membership_ptr": "*fp32",
        "partial_ptr": "*fp32",
        "sums_ptr": "*fp64",
        "derivatives_ptr": "*fp32",
        "upstream_ptr": "*fp32",
        "values_ptr": "*fp64",
        "known_ptr": "*i1",
    }
    return pointers.get(name, "*fp32" if name.endswith("_ptr") else "i32")


def compile_kernel(
    kernel: Any, constants: dict[str, Any], *, kind: str, capability: int
) -> int:
    names = kernel.arg_names
    signature = {
        name: "constexpr" if name in constants else type_of(name, kind)
        for name in names
    }
    known = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=known)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    return len(compiled.asm["cubin"])


def kinds(capability: int, *, few: bool) -> list[tuple[Any, dict[str, Any], str]]:
    """Kernels, what they know when compiling, and the type of logits."""
    half = "fp16" if capability < 80 else "bf16"
    both = (triton_kernels.sums_kernel, triton_kernels.gradient_kernel)
    derivatives = triton_derivatives.derivatives_kernel
    if few:
        passed = [(kernel, passes(half, sigmoid=False), half) for kernel in both]
        return [*passed, (derivatives, {**DERIVATIVES, "REGION": 1}, half)]
    return [
        *(
            (kernel, passes(kind, sigmoid=sigmoid), kind)
            for kernel, kind, sigmoid in product(both, ("fp32", half), (False, True))
        ),
        (triton_kernels.add_up_kernel, {"BLOCK_C": 4}, half),
        *(
            (derivatives, {**DERIVATIVES, "REGION": region}, half)
            for region in range(3)
        ),
    ]


def main() -> None:
    few = "--few" in sys.argv
    for capability in map(int, filter(str.isdigit, sys.argv[1:])):
        for kernel, constants, kind in kinds(capability, few=few):
            size = compile_kernel(kernel, constants, kind=kind, capability=capability)
            line = f"{capability} {kernel.__name__} {kind} {size}\n"
            sys.stdout.write(line)


if __name__ == "__main__":
    main()
