# SPDX-License-Identifier: Apache-2.0
"""A synthetic demo corpus: talking faces with seven emotions, in the folders and files of AFEW.

AFEW must not be redistributed, so this corpus replaces it wherever the whole pipeline has to run and be measured.

  identity.py       a person: face, colours, resting expression, voice. Each split has its own people
  plan.py           the emotions of a split's clips, and which clips show no face
  script.py         what happens in a clip, frame by frame: emotion, head, light, hands, gaps, syllables
  expressions.py    the action units of each emotion over time
  face.py           a person as shapes, from a script
  frames.py         the frames of a script
  voice.py          the audio of a script
  corpus.py         the clips of all splits as .avi files
  skin_detector.py  a face detector for these clips, `--detector=skin`

`python -m fer.prepare.synthetic --output=DIR` writes to DIR:

  Train_AFEW/<Emotion>/<video id>.avi   seven folders in AFEW's spelling (Angry, not Anger)
  Val_AFEW/<Emotion>/<video id>.avi
  Test_AFEW/<video id>.avi              the hold-out, without folders of emotions
  Test_AFEW_labels.csv                  the hold-out's labels: video_id,label

A video id has nine digits, is unique over the splits, and does not reveal the emotion. The same seed gives the same
bytes. Each clip is a function of the seed, its split, its number in the split, its emotion, and whether it is a clip
without a face. Only the last two depend on the number of clips, because a split has AFEW's shares of emotions.
"""
