"""Names that mean the same class."""

import pytest

from fgvc_zoo.data import match_classes


@pytest.mark.parametrize(('name', 'index'), [
    ('Black footed Albatross', 0), ('Black_footed_Albatross', 0), ('black-footed  albatross', 0), ('caf\u00e9', 1), ('cafe\u0301', 1),
    ('STRASSE', 2), ('albatross', None), ('', None)])
def test_case_unicode_form_spaces_underscores_and_hyphens_do_not_count(name, index):
    assert match_classes([name], ['Black footed Albatross', 'Caf\u00e9', 'Straße']) == [index]


def test_a_name_that_is_written_alike_wins_and_an_ambiguous_one_means_nothing():
    known = ['Polish', 'polish', 'Turkey']
    assert match_classes(['polish', 'Polish', 'POLISH', 'turkey'], known) == [1, 0, None, 2]
    assert match_classes([], known) == [] and match_classes(['a'], []) == [None]
