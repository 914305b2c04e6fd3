"""A site's folder becomes arrays and a list of problems, and nobody's identity goes along."""

import dataclasses
import json
import logging

import numpy as np
import pytest
from pydicom import dcmread

from mpc.errors import UsageError
from protocols.radiology import (
    UNLABELLED,
    Intake,
    IntakeError,
    Problem,
    read_image,
    read_site,
    write_predictions,
)

EXACT = Intake(size=8, resize="exact", normalise=None)


def test_a_cohort_is_read_whole(cohort):
    for folder in cohort.values():
        site = read_site(folder, folder / "labels.csv", Intake(size=28, tags=("PatientAge",)))
        assert len(site) == 48
        assert site.images.shape == (48, 1, 28, 28)
        assert site.images.dtype == np.float32
        assert site.labels.dtype == np.int64
        assert set(site.labels) == {0, 1}
        assert len(set(site.patients)) == 40
        assert site.tags.shape == (48, 1)
        assert ((site.tags >= 35) & (site.tags < 90)).all()
        assert site.problems == ()
        assert [study.file for study in site.studies] == sorted(
            p.name for p in folder.glob("*.dcm")
        )


def test_pixels_arrive_as_they_were_read(dicom, labels):
    site = read_site([dicom("a.dcm")], labels("file,label", "a.dcm,1"), EXACT)
    assert np.array_equal(site.images[0, 0], read_image(dicom.folder / "a.dcm").astype(np.float32))
    assert site.labels.tolist() == [1]


def test_studies_without_a_labels_file_are_unlabelled(dicom):
    site = read_site([dicom("a.dcm"), dicom("b.dcm", PatientID=None)], None, EXACT)
    assert site.labels.tolist() == [UNLABELLED] * 2
    assert len(set(site.patients)) == 2


@pytest.mark.parametrize("column", ["StudyInstanceUID", "study", "SOPInstanceUID"])
def test_a_label_may_be_given_by_identifier_or_class_name(dicom, labels, column):
    path = dicom("a.dcm")
    keyword = "SOPInstanceUID" if column == "SOPInstanceUID" else "StudyInstanceUID"
    rows = labels(f"{column},Label", f"{dcmread(path)[keyword].value},malignant")
    settings = dataclasses.replace(EXACT, classes=("benign", "malignant"))
    assert read_site([path], rows, settings).labels.tolist() == [1]


def test_every_problem_is_listed_by_file_with_its_reason(dicom, labels):
    folder = dicom.folder
    for name in "abcdefgh":
        dicom(f"{name}.dcm")
    dicom("rgb.dcm", SamplesPerPixel=3, PhotometricInterpretation="RGB", pixels=np.zeros((8, 8, 3)))
    dicom("nobody.dcm", PatientID="")
    (folder / "text.dcm").write_text("no image")
    (folder / "cut.dcm").write_bytes(dicom("cut.dcm").read_bytes()[:-10])
    (folder / "copy-of-a.dcm").write_bytes((folder / "a.dcm").read_bytes())
    (folder / ".hidden").write_text("not looked at")
    path = labels(
        "file,label",
        *("a.dcm,0", "b.dcm,1", "c.dcm,2", "d.dcm,cat", "e.dcm,", "f.dcm,1", "f.dcm,1", "g.dcm,0"),
        *("g.dcm,1", "gone.dcm,1", "rgb.dcm,0", "text.dcm,0", "cut.dcm,1", "copy-of-a.dcm,0", ",1"),
        *("", "nobody.dcm,1"),
    )
    site = read_site(folder, path, EXACT)
    assert [study.file for study in site.studies] == ["a.dcm", "b.dcm", "f.dcm"]
    assert site.labels.tolist() == [0, 1, 1]
    assert sorted(site.problems) == [
        Problem("c.dcm", "has a label that is not one of the 2 classes, on line 4"),
        Problem("copy-of-a.dcm", "is of the same study as a.dcm, which is kept"),
        Problem("cut.dcm", "is truncated: 118 of 128 bytes of pixel data are there"),
        Problem("d.dcm", "has a label that is not one of the 2 classes, on line 5"),
        Problem("e.dcm", "has no label on line 6 of the labels file"),
        Problem("g.dcm", "has two labels, on lines 9 and 10"),
        Problem("gone.dcm", "is on line 11 of labels.csv, but is not among the files"),
        Problem("h.dcm", "has no line in the labels file"),
        Problem("labels.csv", "line 10 repeats the study of line 9"),
        Problem("labels.csv", "line 16 names no study"),
        Problem("labels.csv", "line 8 repeats the study of line 7"),
        Problem(
            "nobody.dcm",
            "has no PatientID; add a patient column to the labels file, "
            'or set unknown_patients to "separate"',
        ),
        Problem("rgb.dcm", "is a colour image; ask for luminance to take it as grey"),
        Problem("text.dcm", "is not DICOM: it does not start with a DICOM preamble"),
    ]
    with pytest.raises(IntakeError, match="14 problems") as caught:
        read_site(folder, path, dataclasses.replace(EXACT, on_error="fail"))
    assert "and 4 more" in str(caught.value)


def test_a_second_file_of_a_study_is_a_problem_and_not_a_second_study(dicom, labels):
    files = [dicom("a.dcm", StudyInstanceUID="1.2.3"), dicom("b.dcm", StudyInstanceUID="1.2.3")]
    site = read_site(files, labels("study,label", "1.2.3,1"), EXACT)
    assert len(site) == 1
    (problem,) = site.problems
    assert problem == ("b.dcm", "has the same line in the labels file as a.dcm")


def test_a_truncated_copy_does_not_stand_in_for_the_whole_study(dicom):
    whole = dicom("b.dcm")
    (dicom.folder / "a.dcm").write_bytes(whole.read_bytes()[:-10])
    site = read_site(dicom.folder, None, EXACT)
    assert [study.file for study in site.studies] == ["b.dcm"]


def test_files_of_the_same_name_in_two_folders_are_told_apart(dicom, labels):
    for folder in ("one", "two"):
        (dicom.folder / folder).mkdir()
        dicom(f"{folder}/a.dcm")
    rows = labels("file,label", "one/a.dcm,0", "two\\a.dcm,1")
    assert read_site(dicom.folder, rows, EXACT).labels.tolist() == [0, 1]
    site = read_site(dicom.folder, labels("file,label", "a.dcm,0"), EXACT)
    assert site.problems == (("two/a.dcm", "has the same line in the labels file as one/a.dcm"),)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no labels file labels.csv"),
        (b"", "needs a first line such as: file,label"),
        (b"a.dcm,1\n", "needs a first line such as: file,label"),
        (b"file,label\n\xff\xfe,1\n", "is not a CSV file in UTF-8"),
    ],
)
def test_a_labels_file_that_cannot_be_used_ends_the_intake(dicom, content, reason):
    path = dicom.folder / "labels.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(IntakeError, match=reason) as caught:
        read_site([dicom("a.dcm")], path, EXACT)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_spaces_in_a_labels_file_do_no_harm(dicom):
    path = dicom.folder / "labels.csv"
    path.write_bytes("\ufefffile , label\r\n a.dcm , 1\r\n".encode())
    assert read_site([dicom("a.dcm")], path, EXACT).labels.tolist() == [1]


def test_a_site_without_a_usable_study_says_so(dicom, tmp_path):
    with pytest.raises(
        IntakeError, match=r"none of this site's studies can be used: there are none"
    ):
        read_site(tmp_path, None, EXACT)
    with pytest.raises(
        IntakeError, match=r"none of this site's studies can be used:\n  a.dcm: is not 9"
    ):
        read_site([dicom("a.dcm")], None, Intake(size=9, resize="exact"))
    with pytest.raises(IntakeError, match="there is no folder absent"):
        read_site(tmp_path / "absent", None, EXACT)


def test_each_frame_can_be_an_image_with_the_label_and_patient_of_its_file(dicom, labels):
    path = dicom("a.dcm", np.arange(3 * 64, dtype=np.uint16).reshape(3, 8, 8))
    settings = dataclasses.replace(EXACT, frames="each")
    site = read_site([path], labels("file,label", "a.dcm,1"), settings)
    assert site.labels.tolist() == [1, 1, 1]
    assert [study.frame for study in site.studies] == [0, 1, 2]
    assert len(set(site.patients)) == 1


def test_a_multi_frame_file_becomes_a_volume(dicom):
    pixels = np.random.default_rng(0).integers(0, 4096, (5, 16, 12)).astype(np.uint16)
    settings = Intake(size=(4, 8, 8), dims=3, frames="volume", normalise=None)
    site = read_site([dicom("a.dcm", pixels)], None, settings)
    assert site.images.shape == (1, 1, 4, 8, 8)
    assert 0 <= site.images.min() < site.images.max() <= 1


def test_shrinking_and_growing_keep_the_mean_brightness(dicom):
    pixels = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    path = dicom("a.dcm", pixels)
    mean = read_image(path).mean()
    for size in (8, 16, 100, (20, 90)):
        site = read_site([path], None, Intake(size=size, normalise=None))
        assert abs(site.images.mean() - mean) < 0.01


def test_padding_keeps_proportions_and_adds_dark(dicom):
    path = dicom("a.dcm", np.tile(np.array([[100, 200]], np.uint16), (8, 16)), WindowCenter="50",
                 WindowWidth="2")  # fmt: skip
    site = read_site([path], None, Intake(size=8, resize="pad", normalise=None))
    image = site.images[0, 0]
    assert (image[3:5] > 0.8).all()  # the filter reaches into the margin
    assert np.allclose(image[[0, 7]], 0)


def test_normalising_and_channels_are_as_asked(dicom):
    path = dicom("a.dcm")
    plain = read_site([path], None, EXACT).images
    settings = dataclasses.replace(EXACT, normalise=(0.25, 2), channels=3)
    site = read_site([path], None, settings)
    assert site.images.shape == (1, 3, 8, 8)
    for channel in range(3):
        assert np.allclose(site.images[0, channel], (plain[0, 0] - 0.25) / 2)


def test_named_numeric_tags_come_along_as_numbers(dicom):
    ages = {"a": "060Y", "b": "018M", "c": "010W", "d": "073D"}
    files = [
        dicom(f"{name}.dcm", PatientAge=age, SliceThickness="1.25", PatientID=name)
        for name, age in ages.items()
    ]
    site = read_site(files, None, dataclasses.replace(EXACT, tags=("PatientAge", "SliceThickness")))
    assert site.tag_names == ("PatientAge", "SliceThickness")
    expected = [[60, 1.25], [1.5, 1.25], [70 / 365.25, 1.25], [73 / 365.25, 1.25]]
    assert np.allclose(site.tags, expected)


@pytest.mark.parametrize("age", [None, "", "SIXT", "   Y", "999W", "nanY"])
def test_a_study_without_a_named_number_is_a_problem(dicom, age):
    files = [dicom("a.dcm"), dicom("b.dcm", PatientAge=age if age in (None, "") else "060Y")]
    if age:  # patched in, since pydicom would not write it
        files[1].write_bytes(files[1].read_bytes().replace(b"060Y", age.encode()))
    site = read_site(files, None, dataclasses.replace(EXACT, tags=("PatientAge",)))
    if age == "999W":
        assert np.allclose(site.tags[1], 999 * 7 / 365.25)
    else:
        assert site.problems == (("b.dcm", "has no number under PatientAge"),)


def test_tokens_are_drawn_anew_in_every_run_and_agree_within_one(dicom):
    files = [dicom("a.dcm"), dicom("b.dcm")]
    first, second = (read_site(files, None, EXACT) for _ in range(2))
    assert first.patients[0] == first.patients[1] != second.patients[0]
    same = [read_site(files, None, EXACT, salt=b"salt").patients for _ in range(2)]
    assert same[0] == same[1]


def test_a_patient_column_overrules_the_header(dicom, labels):
    files = [dicom("a.dcm"), dicom("b.dcm"), dicom("c.dcm", PatientID=None)]
    rows = labels("file,label,patient", "a.dcm,0,x", "b.dcm,1,y", "c.dcm,1,x")
    tokens = read_site(files, rows, EXACT).patients
    assert tokens[0] == tokens[2] != tokens[1]


def test_planted_names_are_found_nowhere_in_what_is_produced(
    dicom, labels, caplog, capsys, tmp_path
):
    """Good and bad files, with the patient in every corner of the header."""
    planted = dicom.planted
    for name in "abc":
        dicom(f"{name}.dcm", PatientComments=" ".join(planted), StudyDescription=planted[0])
    dicom("w.dcm", WindowWidth="0", WindowCenter="1")
    dicom("f.dcm", NumberOfFrames=3)
    content = dicom("v.dcm", RescaleSlope="1", RescaleIntercept="7").read_bytes()
    (tmp_path / "v.dcm").write_bytes(content.replace(b"RI", b"RI").replace(b"7 ", b"Xi"))
    content = dicom("n.dcm", NumberOfFrames=42).read_bytes().replace(b"42", b"Wo")
    (tmp_path / "n.dcm").write_bytes(content)
    (tmp_path / "t.dcm").write_bytes(content[: len(content) // 2])
    settings = dataclasses.replace(EXACT, tags=("PatientAge",))
    names = [path.name for path in tmp_path.glob("*.dcm")]
    rows = labels("file,label", *(f"{name},1" for name in names))

    with caplog.at_level(logging.DEBUG):
        site = read_site(tmp_path, rows, settings)
        with pytest.raises(IntakeError) as caught:
            read_site(tmp_path, rows, dataclasses.replace(settings, on_error="fail"))
        written = write_predictions(tmp_path / "out", site.studies, np.eye(len(site), 2) / 2, "ab")
    produced = [
        repr(site),
        repr(site.studies),
        str(site.studies),
        json.dumps([dataclasses.astuple(study) for study in site.studies]),
        repr(site.patients),
        repr(site.problems),
        repr(site.tags),
        str(caught.value),
        repr(caught.value.__context__),
        *(path.read_text() for path in written),
        caplog.text,
        *capsys.readouterr(),
    ]
    produced += [
        array.tobytes().decode("latin-1") for array in (site.images, site.labels, site.tags)
    ]
    assert len(site) == 3
    assert len(site.problems) == 5
    for text in produced:
        assert not [word for word in planted if word.lower() in text.lower()]
    uid = site.studies[0].study_uid
    assert uid not in repr(site) + repr(site.studies) + repr(site.problems)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"size": 0}, "size is a whole number"),
        ({"size": (28, 28, 28)}, "size is a whole number from 1 up, or 2 of them"),
        ({"dims": 4}, "dims is 2"),
        ({"dims": 3}, "go together"),
        ({"channels": 0}, "channels"),
        ({"channels": True}, "channels"),
        ({"classes": 1}, "classes"),
        ({"classes": ("a", "a")}, "classes"),
        ({"window": "lung"}, r"window is one of voi, min-max, or \(centre, width > 0\)"),
        ({"window": (0, 0)}, "window"),
        ({"window": (0, float("nan"))}, "window"),
        ({"frames": -1}, "frames is one of"),
        ({"colour": "rgb"}, "colour is one of"),
        ({"resize": "crop"}, "resize is one of"),
        ({"normalise": (0, 0)}, "normalise"),
        ({"on_error": "ignore"}, "on_error is one of"),
        ({"unknown_patients": "yes"}, "unknown_patients is one of"),
        ({"tags": ("PatientName",)}, "PatientName does not hold one number"),
        ({"tags": ("PatientBirthDate",)}, "PatientBirthDate does not hold one number"),
        ({"tags": ("PixelSpacing",)}, "PixelSpacing does not hold one number"),
        ({"tags": ("Shoesize",)}, "'Shoesize' is not the keyword"),
        ({"tags": ("PatientAge", "PatientAge")}, "twice"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, reason):
    with pytest.raises(UsageError, match=reason):
        Intake(**setting)


def test_settings_come_from_a_table_of_a_job_file():
    table = {
        "size": [28, 32],
        "window": [-600, 1500],
        "tags": ["PatientAge"],
        "classes": ["n", "y"],
    }
    settings = Intake.of(table)
    assert settings == Intake(
        size=(28, 32), window=(-600, 1500), tags=("PatientAge",), classes=("n", "y")
    )
    assert settings.shape == (1, 28, 32)
    assert hash(settings) == hash(Intake.of(table))
    assert Intake().class_names == ("0", "1")
    with pytest.raises(UsageError, match="intake has no setting 'siez'; it has size, "):
        Intake.of({"siez": 28})
