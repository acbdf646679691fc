"""Compile every kernel for an Ampere and a Hopper GPU, which takes no GPU: `python compile_kernels.py`."""

from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from upscale.models.ops import triton_kernels as kernels

BY_NAME = {"num_rows": "i32", "num_padded": "i32", "T": "i32", "N": "i32", "crop": "i32", "units": "i32"}
BY_NAME |= {"stride": "i32", "grad_stride": "i32", "eps": "fp32"}
SUMS = ("shift", "weight", "bias", "x_bias", "y_bias", "partial", "filters")  # what is float32 whatever the frames are
CASES = [
    (kernels.norm_gelu, {}),
    (kernels.norm_gelu_backward, {}),
    (kernels.gate_pair, {"NORM": True}),
    (kernels.gate_pair, {"NORM": False, "weight": None, "bias": None}),
    (kernels.gate_pair_backward, {"NORM": True}),
    (kernels.gate_pair_backward, {"NORM": False, "weight": None}),
    (kernels.analyse, {"TAPS": 8, "SPLIT": True}),
    (kernels.analyse, {"TAPS": 8, "SPLIT": False, "second": None}),
    (kernels.synthesise, {"TAPS": 8, "SPLIT": True}),
    (kernels.synthesise, {"TAPS": 8, "SPLIT": False, "second": None}),
]

for kernel, case in CASES:
    constants = {"ALIGN": 8, "ROWS": 64, "WIDTH": 16, **case}
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    signature = {
        name: "constexpr" if name in constants else BY_NAME.get(name, "*fp32" if name in SUMS else "*bf16")
        for name in kernel.arg_names
    }
    for capability in (80, 90):
        places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
        source = ASTSource(kernel, signature=signature, constexprs=places)
        compiled = compile(source, target=GPUTarget("cuda", capability, 32))
        assert compiled.asm["cubin"], kernel
    print(kernel.fn.__name__, case)
