"""Divisions keep patients whole, and divided files are read as they are."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import ShapeMismatch, UsageError
from protocols.radiology import Intake, IntakeError, Site, Study, deal, load_npz, split

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def made_up(patients, labels):
    n = len(patients)
    return Site(
        np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1),
        np.array(labels, np.int64),
        tuple(Study(str(i)) for i in range(n)),
        tuple(f"token {p}" for p in patients),
        np.zeros((n, 0), np.float32),
    )


ROWS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=2, max_size=60).filter(
    lambda rows: len({patient for patient, _ in rows}) > 1
)


@given(rows=ROWS, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
def test_no_patient_is_on_both_sides_and_no_study_is_lost(rows, fraction, seed):
    site = made_up(*zip(*rows, strict=True))
    train, test = split(site, fraction, seed)
    assert not set(train.patients) & set(test.patients)
    both = np.concatenate([train.images, test.images]).ravel()
    assert sorted(both) == list(range(len(site)))
    assert len(train) > 0
    assert len(test) > 0
    for side in (train, test):  # every part of a row moved with it
        rows_of_side = side.images.ravel().astype(int)
        assert [int(study.file) for study in side.studies] == rows_of_side.tolist()
        assert np.array_equal(side.labels, site.labels[rows_of_side])
        assert side.patients == tuple(site.patients[i] for i in rows_of_side)


@given(rows=ROWS, sites=st.integers(1, 5), seed=st.integers(0, 99))
def test_dealing_keeps_patients_whole_and_loses_nothing(rows, sites, seed):
    site = made_up(*zip(*rows, strict=True))
    patients = len(set(site.patients))
    if sites > patients:
        with pytest.raises(UsageError, match=f"{patients} patients cannot be dealt"):
            deal(site, sites, seed)
        return
    hands = deal(site, sites, seed)
    assert sorted(np.concatenate([hand.images for hand in hands]).ravel()) == list(range(len(site)))
    assert sum(len(set(hand.patients)) for hand in hands) == patients
    counts = [len(set(hand.patients)) for hand in hands]
    assert max(counts) - min(counts) <= 1


@given(st.integers(20, 200), st.floats(0.1, 0.9), st.integers(0, 9))
def test_a_split_of_one_study_a_patient_has_the_asked_size_and_balance(n, fraction, seed):
    labels = np.arange(n) % 3 == 0
    train, test = split(made_up(range(n), labels), fraction, seed)
    assert abs(len(test) - fraction * n) <= 1
    assert abs(test.labels.sum() - fraction * labels.sum()) <= 2
    assert len(train) + len(test) == n


def test_a_split_depends_on_the_seed_and_not_on_the_tokens():
    labels = np.arange(50) % 2
    site, other = made_up(range(50), labels), made_up(range(1000, 1050), labels)
    first = split(site, 0.3, 1).test.images
    assert np.array_equal(first, split(other, 0.3, 1).test.images)
    assert not np.array_equal(first, split(site, 0.3, 2).test.images)


def test_a_split_that_cannot_be_is_refused():
    with pytest.raises(IntakeError, match="two patients"):
        split(made_up([1, 1], [0, 1]), 0.5, 0)
    for fraction in (0, 1, -1, float("nan")):
        with pytest.raises(UsageError, match="test fraction"):
            split(made_up([1, 2], [0, 1]), fraction, 0)


def test_a_site_needs_every_part_for_every_row():
    site = made_up([1, 2], [0, 1])
    with pytest.raises(ShapeMismatch):
        Site(site.images, site.labels[:1], site.studies, site.patients, site.tags)


@pytest.mark.parametrize(
    ("name", "shape", "counts"),
    [
        ("pneumoniamnist_balanced_subset", (1, 28, 28), (2428, 270, 468)),
        ("adrenalmnist3d", (1, 28, 28, 28), (1188, 98, 298)),
    ],
)
def test_real_medmnist_files_are_read_as_published(name, shape, counts):
    path = DATA / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    parts = load_npz(path)
    with np.load(path) as file:
        for part, site, count in zip(("train", "val", "test"), parts, counts, strict=True):
            assert site.images.shape == (count, *shape)
            assert np.allclose(
                site.images[::97, 0], (file[f"{part}_images"][::97] / 255 - 0.5) / 0.25, atol=1e-6
            )
            assert np.array_equal(site.labels, file[f"{part}_labels"].ravel())
            assert len(set(site.patients)) == count
    hands = deal(parts.train, 3, 0)
    assert sum(map(len, hands)) == counts[0]
    assert max(map(len, hands)) - min(map(len, hands)) <= 1
    shares_ill = [hand.labels.mean() for hand in hands]
    assert max(shares_ill) - min(shares_ill) < 0.01


def arrays(shape=(6, 10, 10), labels=(0, 1, 0, 1, 0, 1)):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    parts = ("train", "val", "test")
    return {f"{part}_images": images for part in parts} | {
        f"{part}_labels": np.array(labels, np.uint8)[:, None] for part in parts
    }


def test_an_npz_is_resized_and_checked_by_the_settings(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays())
    parts = load_npz(path, Intake(size=5, channels=3, normalise=None))
    assert parts.train.images.shape == (6, 3, 5, 5)
    assert 0 <= parts.train.images.min() <= parts.train.images.max() <= 1
    with pytest.raises(IntakeError, match="does not hold what dims = 3 asks for"):
        load_npz(path, Intake(size=5, dims=3, frames="volume"))
    np.savez(path, **arrays(labels=(0, 1, 0, 1, 2, 2)))
    with pytest.raises(IntakeError, match="has 2 train_labels outside the 2 classes"):
        load_npz(path, Intake(size=5))
    assert load_npz(path).train.labels.max() == 2


def test_a_colour_npz_is_refused_unless_luminance_is_asked_for(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays((6, 10, 10, 3)))
    with pytest.raises(IntakeError, match=r"a.npz holds colour images"):
        load_npz(path)
    parts = load_npz(path, Intake(size=10, colour="luminance", normalise=None))
    rgb = arrays((6, 10, 10, 3))["train_images"]
    expected = rgb @ [0.299, 0.587, 0.114] / 255
    assert np.allclose(parts.test.images[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"val_images": None}, "lacks val_images or val_labels"),
        ({"train_images": np.zeros((6, 10, 10))}, "has train_images that are not uint8"),
        ({"train_images": np.zeros((0, 10, 10), np.uint8)}, "has train_images that are not uint8"),
        ({"test_labels": np.zeros(5, int)}, "has test_labels that are not whole numbers"),
        ({"test_labels": np.zeros(6)}, "has test_labels that are not whole numbers"),
        ({"test_images": np.zeros((6, 9, 10), np.uint8)}, "has test_images of another size"),
        ({"train_labels": np.array([{}] * 6)}, "is not an .npz file of plain arrays"),
    ],
)
def test_a_malformed_npz_is_refused_in_one_line(tmp_path, change, reason):
    path = tmp_path / "a.npz"
    whole = arrays() | change
    np.savez(path, **{name: array for name, array in whole.items() if array is not None})
    with pytest.raises(IntakeError, match=f"^a.npz {reason}") as caught:
        load_npz(path)
    assert "\n" not in str(caught.value)


def test_what_is_not_an_npz_is_refused_in_one_line(tmp_path):
    np.savez(tmp_path / "good.npz", **arrays())
    content = (tmp_path / "good.npz").read_bytes()
    np.save(tmp_path / "one.npy", np.zeros(3))
    for number, body in enumerate(
        [b"", b"text", content[:200], content[: len(content) // 2], content[:300] + content[400:]]
    ):
        path = tmp_path / f"{number}.npz"
        path.write_bytes(body)
        with pytest.raises(IntakeError, match=f"^{number}.npz ") as caught:
            load_npz(path)
        assert "\n" not in str(caught.value)
    for path in (tmp_path / "absent.npz", tmp_path, tmp_path / "one.npy"):
        with pytest.raises(IntakeError):
            load_npz(path)
