"""The seven classes, their order, and how manifests and datasets spell them.

The order is the dissertation's (the columns of its confusion matrices, chapter 6) and holds everywhere:
one-hot labels, logits, metrics, results files.
"""

EMOTIONS = ('Neutral', 'Anger', 'Disgust', 'Fear', 'Happy', 'Sad', 'Surprise')
NUM_CLASSES = len(EMOTIONS)

# AFEW's folders and EmotiW's submissions say Angry where every table says Anger.
AFEW_SPELLING = tuple('Angry' if name == 'Anger' else name for name in EMOTIONS)


def to_one_hot(label: int) -> str:
    """`1` becomes `'0100000'`, the label field of a manifest."""
    return ''.join('1' if index == label else '0' for index in range(NUM_CLASSES))


def from_one_hot(text: str) -> int:
    """Class index of a one-hot label such as `'0100000'`.

    Raises:
      ValueError: `text` is not seven digits with a single one; the message says what it is instead.
    """
    if len(text) != NUM_CLASSES or set(text) - {'0', '1'}:
        raise ValueError(f'label {text!r}: expected {NUM_CLASSES} digits, each 0 or 1')
    if text.count('1') != 1:
        raise ValueError(f'label {text!r}: expected a single 1, found {text.count("1")}')
    return text.index('1')


def from_name(name: str) -> int:
    """Class index of a class name, in the tables' spelling or in AFEW's.

    Raises:
      ValueError: no class is called `name`.
    """
    for spelling in (EMOTIONS, AFEW_SPELLING):
        if name in spelling:
            return spelling.index(name)
    raise ValueError(f'class {name!r}: expected one of {", ".join(EMOTIONS)} (or Angry)')
