"""Weights between base and checkpoint: exact at both ends, rounded once between them; averages by hand."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from attune.encoding.encoders import load_torch
from attune.errors import BadInput
from attune.tuning.interpolation import Interpolation, Weights, added, average, difference, read_change

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e3, max_value=1e3)


def bits(weights: Weights) -> dict[str, bytes]:
    return {name: value.cpu().numpy().tobytes() for name, value in weights.items()}


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=20), st.floats(0, 1))
def test_a_share_lies_between_base_and_tuned(pairs: list[tuple[float, float]], share: float) -> None:
    """Within a step of half precision of the difference and one of the type; share 0 is base to the bit."""
    base, tuned = (torch.tensor([pair[side] for pair in pairs]) for side in (0, 1))
    change = difference({"w": base}, {"w": tuned})
    own = added({"w": base}, change, share)["w"]
    gap = (tuned.double() - base.double()).abs()
    exact = base.double() + share * (tuned.double() - base.double())
    # the smallest half-precision number is 2^-24
    step = share * (gap * 2**-11 + 2**-25) + torch.maximum(base.abs(), tuned.abs()).double() * 2**-23 + 2**-149
    assert own.dtype == torch.float32
    assert ((own.double() - exact).abs() <= step).all()
    assert bits(added({"w": base}, change, 0.0)) == bits({"w": base})


def test_an_unchanged_tensor_stays_to_the_bit() -> None:
    """It is not in the difference, and -0.0 keeps its sign, whatever the share."""
    base = {"w": torch.tensor([-0.0, 1.1, 1e-40]), "v": torch.tensor([1.0])}
    change = difference(base, {"w": base["w"].clone(), "v": torch.tensor([2.0])})
    assert list(change) == ["v"] and change["v"].dtype == torch.float16
    for share in (0.0, 0.3, 1.0):
        assert bits(added({"w": base["w"]}, change, share)) == bits({"w": base["w"]})
    assert difference(base, {name: value.clone() for name, value in base.items()}) == {}


def test_integers_and_types_are_the_bases() -> None:
    """3/4 of the way from 4 to 8 is 7; integers are not interpolated; half-precision weights stay so."""
    base = {"w": torch.tensor([4.0, 0.0]), "ids": torch.tensor([1, 2]), "h": torch.tensor([1.0], dtype=torch.bfloat16)}
    tuned = {"w": torch.tensor([8.0, 4.0]), "ids": torch.tensor([3, 4]), "h": torch.tensor([3.0], dtype=torch.bfloat16)}
    own = added(base, difference(base, tuned), 0.75)
    assert own["w"].tolist() == [7.0, 3.0]
    assert own["ids"].tolist() == [1, 2]
    assert own["h"].dtype == torch.bfloat16 and own["h"].item() == 2.5


def test_an_average_by_hand() -> None:
    """A tensor that one checkpoint did not change counts as 0 there: (1 + 2 + 6) / 3 and (4 + 0 + 2) / 3."""
    changes = [
        {"w": torch.tensor([1.0]).half(), "v": torch.tensor([4.0]).half()},
        {"w": torch.tensor([2.0]).half()},
        {"w": torch.tensor([6.0]).half(), "v": torch.tensor([2.0]).half()},
    ]
    mean = average(changes)
    assert {name: value.item() for name, value in mean.items()} == {"v": 2.0, "w": 3.0}
    assert all(value.dtype == torch.float32 for value in mean.values())
    assert average([{}, {}]) == {}


@pytest.mark.parametrize(
    ("tuned", "words"),
    [
        ({"w": torch.zeros(2, 4)}, r"1 tensors .*first: w, got \(2, 4\), expected \(2, 3\)"),
        ({"w": torch.zeros(2, 3), "more": torch.zeros(1)}, r"first: more, got \(1,\), expected absent"),
        ({}, r"first: w, got absent, expected \(2, 3\)"),
    ],
)
def test_encoders_of_another_shape_are_refused(tuned: dict[str, torch.Tensor], words: str) -> None:
    """Another shape, an additional and a missing tensor: the message names the first one."""
    with pytest.raises(BadInput, match=words):
        difference({"w": torch.zeros(2, 3)}, tuned)


def test_one_model_serves_all_shares_and_keeps_nothing_of_the_last(tiny_encoder: Path) -> None:
    """After a middle share the base is exact again, and share 1 is the same as at first."""
    between = Interpolation(tiny_encoder)
    base = load_torch(tiny_encoder).state_dict()
    name = next(name for name, value in base.items() if value.is_floating_point())
    change = {name: torch.full(base[name].shape, 0.25).half()}
    first = bits(between.at(change, 1.0).state_dict())
    between.at(change, 0.5)
    assert bits(between.at(change, 1.0).state_dict()) == first != bits(base)
    assert bits(between.at(change, 0.0).state_dict()) == bits(between.at({}, 1.0).state_dict()) == bits(base)


def test_only_what_a_difference_changes_is_in_memory_twice(tiny_encoder: Path) -> None:
    """With LoRA the token vectors are kept once; the base's weights stay readable, also those that were changed."""
    between = Interpolation(tiny_encoder)
    changed, other = [name for name, value in between.base.items() if value.is_floating_point()][:2]
    before = {name: value.clone() for name, value in between.base.items()}
    own = between.at({changed: torch.ones_like(before[changed]).half()}, 1.0).state_dict()
    assert between.base[other].data_ptr() == own[other].data_ptr()
    assert between.base[changed].data_ptr() != own[changed].data_ptr()
    assert torch.equal(own[changed], before[changed] + 1) and bits(between.base) == bits(before)
    between.at({other: torch.ones_like(before[other]).half()}, 0.5)
    assert torch.equal(own[changed], before[changed]) and bits(between.base) == bits(before)


def test_a_difference_to_another_base_is_refused(tiny_encoder: Path) -> None:
    """Another shape or an unknown name: one line names the tensor."""
    between = Interpolation(tiny_encoder)
    name = next(name for name in between.base if "position_embeddings" in name)
    with pytest.raises(BadInput, match=r"position_embeddings.*got \(40, 32\), expected \(64, 32\).*run `dvc repro`"):
        between.at({name: torch.zeros(40, 32)}, 0.5)
    with pytest.raises(BadInput, match=r"first: other, got \(1,\), expected absent"):
        between.at({"other": torch.zeros(1)}, 0.5)


def test_a_damaged_difference_is_named(tmp_path: Path) -> None:
    """Missing or cut short: file and next step in one line."""
    file = tmp_path / "8.safetensors"
    with pytest.raises(BadInput, match=r"8\.safetensors: cannot be read .*; run `dvc repro`"):
        read_change(file)
    save_file({"w": torch.zeros(9)}, file)
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(BadInput, match=r"8\.safetensors: cannot be read .*; run `dvc repro`"):
        read_change(file)
