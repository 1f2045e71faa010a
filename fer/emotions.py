# SPDX-License-Identifier: Apache-2.0
"""The seven classes, their order, and how manifests and datasets spell them.

The order is the dissertation's: the columns of its confusion matrices (chapter 6). It is the same everywhere, in
one-hot labels, logits, metrics and results files.
"""

EMOTIONS = ('Neutral', 'Anger', 'Disgust', 'Fear', 'Happy', 'Sad', 'Surprise')
NUM_CLASSES = len(EMOTIONS)

# AFEW's folders and EmotiW's submissions spell class 1 Angry. Every table spells it Anger.
AFEW_SPELLING = tuple('Angry' if name == 'Anger' else name for name in EMOTIONS)


def to_one_hot(label: int) -> str:
    """Returns the label field of a manifest: 1 becomes `'0100000'`."""
    return ''.join('1' if index == label else '0' for index in range(NUM_CLASSES))


def from_one_hot(text: str) -> int:
    """Returns the class index of a one-hot label such as `'0100000'`.

    Raises:
      ValueError: `text` is not seven digits, six 0 and one 1. The message quotes what was found.
    """
    if len(text) != NUM_CLASSES or set(text) - {'0', '1'}:
        raise ValueError(f'label {text!r}: expected {NUM_CLASSES} digits, each 0 or 1')
    if text.count('1') != 1:
        raise ValueError(f'label {text!r}: expected a single 1, found {text.count("1")}')
    return text.index('1')


def from_name(name: str) -> int:
    """Returns the class index of a class name, in the tables' spelling or in AFEW's.

    Raises:
      ValueError: no class has this name.
    """
    for spelling in (EMOTIONS, AFEW_SPELLING):
        if name in spelling:
            return spelling.index(name)
    raise ValueError(f'class {name!r}: expected one of {", ".join(EMOTIONS)} (or Angry)')


# How each dataset writes its classes: code -> class, in the order of the dataset's documentation. A class outside
# EMOTIONS is left out of manifests and counted. A code that is missing here is an unknown label.

# fer2013.csv, column emotion (Goodfellow et al. 2013).
FER2013_CODES = {0: 'Anger', 1: 'Disgust', 2: 'Fear', 3: 'Happy', 4: 'Sad', 5: 'Surprise', 6: 'Neutral'}

# list_patition_label.txt of the basic set (Li, Deng & Du 2017).
RAFDB_CODES = {1: 'Surprise', 2: 'Fear', 3: 'Disgust', 4: 'Happy', 5: 'Sad', 6: 'Anger', 7: 'Neutral'}

# expression of the CSV release, <n>_exp.npy of the newer one (Mollahosseini et al. 2017). The dissertation keeps the
# first seven (2.2.1).
AFFECTNET_CODES = {
    0: 'Neutral',
    1: 'Happy',
    2: 'Sad',
    3: 'Surprise',
    4: 'Fear',
    5: 'Disgust',
    6: 'Anger',
    7: 'Contempt',
    8: 'None',
    9: 'Uncertain',
    10: 'Non-face',
}

# Third number of a file's name (Livingstone & Russo 2018).
RAVDESS_CODES = {
    1: 'Neutral',
    2: 'Calm',
    3: 'Happy',
    4: 'Sad',
    5: 'Anger',
    6: 'Fear',
    7: 'Disgust',
    8: 'Surprise',
}

# Third part of a file's name (Cao et al. 2014). The set has no surprise.
CREMAD_CODES = {'NEU': 'Neutral', 'ANG': 'Anger', 'DIS': 'Disgust', 'FEA': 'Fear', 'HAP': 'Happy', 'SAD': 'Sad'}

# Letter after the text's number in a file's name (Burkhardt et al. 2005). It is the first letter of the German word.
EMODB_CODES = {
    'W': 'Anger',
    'L': 'Boredom',
    'E': 'Disgust',
    'A': 'Fear',
    'F': 'Happy',
    'T': 'Sad',
    'N': 'Neutral',
}

# Last word of a file's name (Pichora-Fuller & Dupuis 2020). ps is pleasant surprise.
TESS_CODES = {
    'angry': 'Anger',
    'disgust': 'Disgust',
    'fear': 'Fear',
    'happy': 'Happy',
    'neutral': 'Neutral',
    'ps': 'Surprise',
    'sad': 'Sad',
}

# Letters before the number in a file's name (Haq & Jackson 2010).
SAVEE_CODES = {
    'a': 'Anger',
    'd': 'Disgust',
    'f': 'Fear',
    'h': 'Happy',
    'n': 'Neutral',
    'sa': 'Sad',
    'su': 'Surprise',
}

# set_<fold>.csv, column label (Jiang et al. 2020).
DFEW_CODES = {1: 'Happy', 2: 'Sad', 3: 'Neutral', 4: 'Anger', 5: 'Surprise', 6: 'Disgust', 7: 'Fear'}

# train_All.csv and test_All.csv write names (Wang et al. 2022).
FERV39K_CODES = {
    'Happy': 'Happy',
    'Sad': 'Sad',
    'Neutral': 'Neutral',
    'Angry': 'Anger',
    'Surprise': 'Surprise',
    'Disgust': 'Disgust',
    'Fear': 'Fear',
}

# Folders named after classes, in lower case: the spellings of the datasets above and of their copies on the web.
FOLDER_CODES = {
    'neutral': 'Neutral',
    'neutrality': 'Neutral',
    'anger': 'Anger',
    'angry': 'Anger',
    'disgust': 'Disgust',
    'disgusted': 'Disgust',
    'fear': 'Fear',
    'fearful': 'Fear',
    'happy': 'Happy',
    'happiness': 'Happy',
    'sad': 'Sad',
    'sadness': 'Sad',
    'surprise': 'Surprise',
    'surprised': 'Surprise',
    'calm': 'Calm',
    'contempt': 'Contempt',
}
