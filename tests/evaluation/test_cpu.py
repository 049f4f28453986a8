"""The class of CPU in the report: its maker and widest instruction set, nothing that says whose machine it is."""

import platform
from pathlib import Path

import pytest

from attune.evaluation.page.cpu import cpu_class

OLD = "fpu sse sse2 avx avx2"


def proc(folder: Path, **values: str) -> Path:
    """Writes a cpuinfo of two processors, as Linux does."""
    lines = [f"{key}\t: {value}" for key, value in values.items()]
    folder.mkdir(exist_ok=True)
    (folder / "cpuinfo").write_text("\n".join([*lines, "", *lines, ""]))
    return folder


@pytest.mark.parametrize(
    ("maker", "flags", "expected"),
    [
        ("GenuineIntel", f"{OLD} avx512f avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8", "Intel AMX"),
        ("AuthenticAMD", f"{OLD} avx512f avx512_vnni avx512_bf16", "AMD AVX-512 BF16"),
        ("GenuineIntel", f"{OLD} avx512f avx512_vnni", "Intel AVX-512 VNNI"),
        ("GenuineIntel", f"{OLD} avx512f", "Intel AVX-512"),
        ("GenuineIntel", f"{OLD} avx_vnni", "Intel AVX2 VNNI"),
        ("AuthenticAMD", OLD, "AMD AVX2"),
        ("CentaurHauls", "fpu sse2", f"CentaurHauls {platform.system()}"),
    ],
)
def test_the_widest_instruction_set_of_an_x86_cpu(tmp_path: Path, maker: str, flags: str, expected: str) -> None:
    """As Linux names flags and makers; neither the model's name nor its clock matters."""
    for name, clock in (("Some CPU 1", "2445.406"), ("Some CPU 2", "3000.000")):
        folder = proc(tmp_path, vendor_id=maker, **{"model name": name, "cpu MHz": clock, "flags\t": flags})
        assert cpu_class(folder) == expected


@pytest.mark.parametrize(
    ("features", "expected"),
    [("fp asimd sve bf16 svebf16", "SVE BF16"), ("fp asimd bf16 i8mm", "NEON BF16"), ("fp asimd", "NEON")],
)
def test_an_arm_cpu_has_the_name_of_its_architecture(tmp_path: Path, features: str, expected: str) -> None:
    """Linux on ARM names features, and no maker in words."""
    folder = proc(tmp_path, **{"Features": features, "CPU implementer": "0x41"})
    assert cpu_class(folder) == f"{platform.machine()} {expected}"


def test_a_gpu_is_named_besides(tmp_path: Path) -> None:
    """Encoders run on it where there is one; two of a kind are one class."""
    folder = proc(tmp_path, vendor_id="AuthenticAMD", flags=OLD)
    for place in ("0000:01:00.0", "0000:02:00.0"):
        (folder / "driver/nvidia/gpus" / place).mkdir(parents=True)
        (folder / "driver/nvidia/gpus" / place / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 45\n")
    assert cpu_class(folder) == "AMD AVX2 with NVIDIA H200"


def test_elsewhere_than_on_linux_architecture_and_system_must_do(tmp_path: Path) -> None:
    """There is no /proc."""
    assert cpu_class(tmp_path) == f"{platform.machine()} {platform.system()}"


def test_this_machine_has_a_class() -> None:
    """One line, the same each time."""
    assert cpu_class() == cpu_class() and "\n" not in cpu_class()
