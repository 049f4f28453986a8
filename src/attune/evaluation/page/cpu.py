"""Class of the machine that computed a run: CPUs of one class give the same vectors to the byte, others do not.

oneDNN, MKL, OpenBLAS and FAISS choose their kernels by the maker and the instruction sets of the CPU; other kernels add
in another order, and `machine.precision: auto` takes bf16 where the CPU has it. Model name, clock and number of cores
are left out: they say more about whose machine it is than about the bytes.
"""

import platform
import re
from pathlib import Path

PROC = Path("/proc")
MAKERS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}
# By flag of Linux, the widest first: the first one that a CPU has is its class.
INSTRUCTIONS = {
    "amx_tile": "AMX",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX2 VNNI",
    "avx2": "AVX2",
    "svebf16": "SVE BF16",
    "sve": "SVE",
    "bf16": "NEON BF16",
    "asimd": "NEON",
}


def cpu_class(proc: Path = PROC) -> str:
    """Returns the CPU's maker or architecture and widest instruction set, and any NVIDIA GPU, which then computes.

    Such as "Intel AMX", "AMD AVX2", "aarch64 SVE BF16", "AMD AVX2 with NVIDIA H200"; where /proc does not tell, the
    architecture and the system ("arm64 Darwin").

    Args:
        proc: folder of Linux's process file system.
    """
    gpus = {name for file in proc.glob("driver/nvidia/gpus/*/information") for name in _values(file, "Model")}
    return " with ".join([_cpu(proc / "cpuinfo"), *sorted(gpus)])


def _cpu(file: Path) -> str:
    flags = {flag for line in _values(file, "flags|Features") for flag in line.split()}
    widest = next((words for flag, words in INSTRUCTIONS.items() if flag in flags), "")
    maker = next(iter(_values(file, "vendor_id")), platform.machine())
    return f"{MAKERS.get(maker, maker)} {widest or platform.system()}"


def _values(file: Path, key: str) -> list[str]:
    """Returns the values of lines "key : value"; none where there is no such file."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return re.findall(rf"^(?:{key})[ \t]*:[ \t]*(.+?)[ \t]*$", text, re.MULTILINE)
