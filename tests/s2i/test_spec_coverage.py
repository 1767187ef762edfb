"""test_spec_coverage.py - the list of requirements is covered by citations."""
import spec_coverage


def test_every_requirement_is_cited():
    assert list(spec_coverage.faults()) == []
