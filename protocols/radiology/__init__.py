"""Radiology: DICOM in, arrays for sharing; predictions out to the studies' owner.

In reading order:

    errors      what can be wrong with a site's input
    grayscale   stored values to brightness: modality LUT, VOI window
    dicom       one file to brightness, or the reason why not
    tags        numeric header elements that may go along
    settings    `Intake`: how files become arrays
    site        `Site`: the arrays, and references that never leave
    labels      the labels file
    prepare     resized, repeated over channels, normalised
    intake      a folder and a labels file to a `Site`
    cohort      train and test by patient, and dealing to sites
    npz         data sets that come in one file, and divided
    models      plain PyTorch models by name
    metrics     accuracy, confusion, ROC, AUC with an interval
    results     predictions as JSON and CSV
    anatomy     what a phantom's chest looks like
    phantom     a cohort of made-up DICOM files

Nothing here knows about parties or shares.
"""

from protocols.radiology.cohort import Split, deal, split
from protocols.radiology.dicom import read_image
from protocols.radiology.errors import IntakeError, Unreadable
from protocols.radiology.intake import read_site
from protocols.radiology.labels import read_labels
from protocols.radiology.metrics import (
    Auc,
    Roc,
    accuracy,
    auc,
    confusion_matrix,
    macro_auc,
    roc_curve,
)
from protocols.radiology.models import build, radcnn, resnet18, resnet18_body
from protocols.radiology.npz import Splits, load_npz
from protocols.radiology.phantom import write_cohort
from protocols.radiology.results import write_predictions
from protocols.radiology.settings import Intake
from protocols.radiology.site import UNLABELLED, Problem, Site, Study

__all__ = [
    "UNLABELLED",
    "Auc",
    "Intake",
    "IntakeError",
    "Problem",
    "Roc",
    "Site",
    "Split",
    "Splits",
    "Study",
    "Unreadable",
    "accuracy",
    "auc",
    "build",
    "confusion_matrix",
    "deal",
    "load_npz",
    "macro_auc",
    "radcnn",
    "read_image",
    "read_labels",
    "read_site",
    "resnet18",
    "resnet18_body",
    "roc_curve",
    "split",
    "write_cohort",
    "write_predictions",
]
