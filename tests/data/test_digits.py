import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from rankgrad.data import digits as module
from rankgrad.data.digits import DigitNumbers, digit_numbers, skewed_bell


@pytest.fixture(scope="module")
def pairs() -> DigitNumbers:
    return digit_numbers(skewed_bell(), 0)


def halves(images: torch.Tensor) -> list[bytes]:
    """The single digit images that pairs are made of."""
    return [half.numpy().tobytes() for pair in images[:, 0] for half in pair.split(8, dim=1)]


def test_images_are_those_of_scikit_learn() -> None:
    bunch = load_digits()
    images, digits = module.digit_images()
    assert images.shape == (1797, 8, 8)
    np.testing.assert_array_equal(images, bunch.images.astype(np.float32) / 16)
    np.testing.assert_array_equal(digits, bunch.target)


def test_without_the_bare_file_scikit_learn_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = module.digit_images()
    monkeypatch.setattr("pathlib.Path.exists", lambda self: False)
    found = module.digit_images.__wrapped__()
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'rankgrad\[recipes\]'"):
        module.digit_images.__wrapped__()


def test_shapes_and_counts(pairs: DigitNumbers) -> None:
    assert pairs.train.images.shape == (2599, 1, 8, 16)
    assert pairs.train.images.dtype == torch.float32
    assert pairs.train.images.min() == 0
    assert pairs.train.images.max() == 1
    assert torch.equal(pairs.train.labels.long().bincount(minlength=100), pairs.train_counts)
    assert torch.equal(pairs.val.labels.long().bincount(), torch.full((100,), 4))
    assert torch.equal(pairs.test.labels.long().bincount(), torch.full((100,), 10))


def test_labels_are_the_numbers_shown(pairs: DigitNumbers) -> None:
    images, digits = module.digit_images()
    shown = {image.tobytes(): int(digit) for image, digit in zip(images, digits, strict=True)}
    for split in (pairs.train, pairs.val, pairs.test):
        read = [shown[half] for half in halves(split.images)]
        numbers = [10 * tens + units for tens, units in zip(read[::2], read[1::2], strict=True)]
        assert numbers == split.labels.int().tolist()


def test_no_source_image_is_in_two_splits(pairs: DigitNumbers) -> None:
    train, val, test = (set(halves(s.images)) for s in (pairs.train, pairs.val, pairs.test))
    assert not train & val
    assert not train & test
    assert not val & test


def test_the_seed_fixes_everything(pairs: DigitNumbers) -> None:
    assert torch.equal(digit_numbers(skewed_bell(), 0).train.images, pairs.train.images)
    assert torch.equal(digit_numbers(skewed_bell(), 0).test.images, pairs.test.images)
    assert not torch.equal(digit_numbers(skewed_bell(), 1).train.images, pairs.train.images)
    assert set(halves(digit_numbers(skewed_bell(), 1).test.images)) != set(
        halves(pairs.test.images)
    )


def test_training_labels_follow_a_skewed_bell() -> None:
    counts = skewed_bell()
    assert counts.shape == (100,)
    assert (counts.min(), counts.max()) == (0, 67)
    top = int(counts.argmax())
    assert (counts[: top + 1].diff() >= 0).all()
    assert (counts[top:].diff() <= 0).all()
    # Skewed: more to the right of the top than to its left.
    assert counts[top + 1 :].sum() > 1.5 * counts[:top].sum()
    for region in (counts > 30, (counts >= 8) & (counts <= 30), counts < 8):
        assert region.sum() >= 20


def test_own_counts() -> None:
    counts = torch.zeros(100, dtype=torch.long)
    counts[42] = 3
    pairs = digit_numbers(counts, 5, val_per_label=1, test_per_label=2)
    assert pairs.train.labels.tolist() == [42.0, 42.0, 42.0]
    assert (len(pairs.val.labels), len(pairs.test.labels)) == (100, 200)


def test_numbers_of_three_digits() -> None:
    counts = skewed_bell(2, 340.0, 105.0, 205.0, labels=1000)
    numbers = digit_numbers(counts, 0, val_per_label=0, test_per_label=1)
    assert numbers.test.images.shape == (1000, 1, 8, 24)
    images, digits = module.digit_images()
    shown = {image.tobytes(): int(digit) for image, digit in zip(images, digits, strict=True)}
    read = [
        [shown[part.numpy().tobytes()] for part in strip.split(8, dim=1)]
        for strip in numbers.test.images[:, 0]
    ]
    assert [100 * a + 10 * b + c for a, b, c in read] == numbers.test.labels.int().tolist()
    with pytest.raises(ValueError, match="10, 100 or 1000"):
        digit_numbers(torch.ones(50).long())
