"""A site's own word on a release comes from its own copy of the job file."""

from types import SimpleNamespace

import pytest

from mpc.errors import UsageError
from protocols.cli.job import SiteSettings
from protocols.cli.release import _consent


def run_at(site):
    return SimpleNamespace(site=site)


def test_a_site_that_names_nobody_lets_any_site_have_the_model():
    assert _consent(run_at(SiteSettings("north")), "south") is None


@pytest.mark.parametrize("allowed", [(), ("north",)])
def test_a_site_refuses_a_release_to_whom_it_does_not_name(allowed):
    with pytest.raises(UsageError, match="does not let the model be released to south"):
        _consent(run_at(SiteSettings("north", release_to=allowed)), "south")


def test_a_site_allows_a_release_to_whom_it_names():
    assert _consent(run_at(SiteSettings("north", release_to=("south",))), "south") is None
