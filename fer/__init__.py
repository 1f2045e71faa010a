"""Audio-visual facial emotion recognition in video (EmotiW / AFEW, 7 classes)."""

__version__ = '0.1.0'
