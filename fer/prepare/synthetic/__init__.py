"""A demo corpus drawn by the program: talking faces with seven emotions, in the folders and files of AFEW.

AFEW may not be passed on, so this stands in for it wherever the whole pipeline has to run and be measured. A clip is
made in four steps, one module each:

  identity.py  a person: face, colours, resting expression, voice; every split has its own people
  script.py    what happens in the clip, frame by frame: emotion, head, light, hands, gaps, syllables
  face.py      the pictures of a script; voice.py: its sound
  corpus.py    the clips of all splits as .avi files

What `python -m fer.prepare.synthetic --output=DIR` leaves in DIR:

  Train_AFEW/<Emotion>/<video id>.avi   seven folders in AFEW's spelling (Angry, not Anger)
  Val_AFEW/<Emotion>/<video id>.avi
  Test_AFEW/<video id>.avi              the hold-out, without folders of emotions
  Test_AFEW_labels.csv                  the hold-out's answers: video_id,label

A video id has nine digits, is unique over the splits, and tells nothing about the emotion. The same seed gives the
same bytes. A clip is a function of the seed, its split, its number in the split, its emotion and whether it is one
of the clips without a face; only these last two depend on how many clips are drawn, because the shares of the
emotions are promised for the split as a whole.
"""
