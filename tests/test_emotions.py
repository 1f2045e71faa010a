# SPDX-License-Identifier: Apache-2.0
import pytest

from fer import emotions


def test_classes_have_the_dissertations_order():
    assert emotions.EMOTIONS == ('Neutral', 'Anger', 'Disgust', 'Fear', 'Happy', 'Sad', 'Surprise')
    assert emotions.to_one_hot(1) == '0100000'
    assert emotions.from_name('Angry') == emotions.from_name('Anger') == 1
    assert sorted(emotions.AFEW_SPELLING) == ['Angry', 'Disgust', 'Fear', 'Happy', 'Neutral', 'Sad', 'Surprise']


def test_one_hot_labels_round_trip():
    for label in range(7):
        assert emotions.from_one_hot(emotions.to_one_hot(label)) == label


@pytest.mark.parametrize('text', ['0110000', '010000', '01000000', '0000000', 'Angry', '0200000', '', '01 0000'])
def test_bad_one_hot_label_is_refused(text):
    with pytest.raises(ValueError, match='expected'):
        emotions.from_one_hot(text)


def test_unknown_class_name_is_refused():
    with pytest.raises(ValueError, match='Contempt'):
        emotions.from_name('Contempt')
