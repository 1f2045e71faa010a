# SPDX-License-Identifier: Apache-2.0
"""The settings of a run, and the flagfile that replays it."""

from dataclasses import dataclass
from pathlib import Path

from fer.errors import InputError
from fer.files import atomic_write
from fer.settings import format_values, parse_values, setting, settings_of, values_before


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Every flag of train.py except --resume and --overwrite, under its name and in the order of flags.txt."""

    model: str = setting(
        'Network of the images, or `ffn` or `audio_gru` for audio. For an unknown name, the error lists all names.',
        'vgg_face',
        section='4.1, 4.2',
    )
    stage: str = setting(
        'Training stage.',
        'finetune',
        choices={
            'pretrain': 'stills',
            'finetune': 'frames of videos, each by itself',
            'temporal': 'a recurrent network on the CNN',
            'audio': 'audio alone',
            'early_fusion': 'frames and audio',
        },
        section='chapter 4',
    )
    # Data.
    train_manifest: tuple[str, ...] = setting(
        'Manifest (.txt) of the training split. Several, separated by commas, are joined.',
        (),
        is_path=True,
        fewest=1,
        expected='the path of a manifest',
        by_default='the manifest that configs/ has for the stage, below data/',
    )
    val_manifest: tuple[str, ...] = setting(
        'Manifest that is scored after each epoch. Each of several, separated by commas, gets its own score. '
        'Empty: no validation.',
        (),
        is_path=True,
        by_default='as for --train_manifest. With a --train_manifest of your own: no validation',
    )
    data_root: str = setting(
        "Folder that relative paths in manifests start from. Empty: each manifest's own folder.", '', is_path=True
    )
    min_frames: int = setting(
        'Fewest frames that a video of a manifest may have, with any --seq_len. 1 accepts single frames.',
        2,
        at_least=1,
        noun='frames',
    )
    seq_len: int = setting(
        'Window length in frames. With 1, each frame is a window, which is one reading of "Per Frame".',
        80,
        at_least=1,
        at_most=100_000,
        noun='frames',
        section='6.2',
    )
    image_size: int = setting('Height and width of the images in pixels.', 112, section='5.1')
    audio_scaling: str = setting(
        'How openSMILE features are scaled. The statistics are those of the training split, and the run keeps them.',
        'zscore',
        choices={
            'zscore': 'mean 0, deviation 1, cut at 10 deviations',
            'log': 'the same, then log(1 + z) with the sign kept',
            'minmax': 'to [0, 1]',
            'none': 'as they are',
        },
        section='5.1, 5.1.2',
    )
    nonfinite_audio: str = setting(
        'How to handle a NaN or an infinity among the openSMILE features.',
        'error',
        choices={'error': 'stop', 'mean': 'count it and use the mean of the training split'},
    )
    # Network.
    width: float = setting(
        'Multiplies the channels of the network. Small values are for tests and the demo.',
        1.0,
        above=0,
        at_most=16,
        noun='a factor',
    )
    global_pool: bool = setting(
        'Average the last feature map of the CNN (True), or flatten it (False).',
        None,
        by_default='the one that is better for the network in section 6.1',
        section='6.1',
    )
    stem_stride: int = setting(
        'Stride of the layers before the first stage of a ResNet, an SE network or DenseNet. The variables do not '
        'depend on it. Faces of 48 pixels leave a map of 12x12 with 4.',
        4,
        choices={
            4: 'as in the papers, 2 in the 7x7 convolution and 2 in the pool',
            2: 'in the pool only',
            1: 'no stride and no pool',
        },
        is_later=True,
    )
    se_vgg: bool = setting(
        'Put a squeeze-and-excitation block after each convolution of VGG-Face.', False, section='chapter 10'
    )
    vgg_pooling: str = setting(
        'How the pools of VGG-Face treat an odd last row or column. fc6 starts fresh if its weights are for another '
        'size of the last map.',
        'source',
        choices={
            'source': "as the weights' source does, and fresh weights as valid",
            'valid': 'drop it, so that 112x112 ends in 3x3',
            'same': 'keep it, so that 112x112 ends in 4x4',
        },
        section='2.4.2, 5.1.1',
        is_later=True,
    )
    dropout: float = setting(
        'Dropout rate after fc6 and fc7 of VGG-Face, after the features of NASNet, and in the hidden layers of ffn.',
        0.5,
        at_least=0,
        below=1,
        noun='a rate',
    )
    batch_norm_mode: str = setting(
        'What batch normalisation does in training. Phase one always freezes it.',
        'train',
        choices={'train': 'use batch statistics and learn their averages', 'frozen': 'use the restored averages'},
    )
    batch_norm_decay: float = setting(
        'Share of its old value that a moving average of batch normalisation keeps at each step.',
        0.99,
        at_least=0,
        below=1,
        noun='a share',
        section='2.4.8',
        is_later=True,
    )
    rnn_cell: str = setting(
        'Cell of the recurrent network.',
        'gru',
        choices={'gru': '', 'lstm': '', 'rnn': 'the plain cell of equation 2.8'},
        section='2.4.3, 6.3',
    )
    rnn_layers: int = setting(
        'Layers of the recurrent network.', 2, at_least=1, at_most=64, noun='layers', section='6.3'
    )
    rnn_units: int = setting(
        'Units of each layer of the recurrent network, in each direction.',
        128,
        at_least=1,
        at_most=65536,
        noun='units',
        section='6.3',
    )
    bidirectional: bool = setting('Also read windows from their last frame to their first.', False, section='6.3')
    bidirectional_kind: str = setting(
        'How the two directions of several layers are joined.',
        'layers',
        choices={
            'layers': 'after each layer, so that the next one reads both directions',
            'stacks': 'after the last layer, as two stacks side by side',
        },
        section='2.4.3, figure 2.27',
        is_later=True,
    )
    attention: bool = setting(
        'Add attention to the recurrent network, of the kind --attention_kind.',
        False,
        section='equations 2.10 to 2.12, 6.3',
    )
    attention_kind: str = setting(
        'Kind of the attention.',
        'gate',
        choices={
            'gate': "a sigmoid of the network's input for each unit of its output",
            'softmax': "one weight for each frame, a softmax over the window of a score of the network's input",
            'wrapper': "TensorFlow 1's AttentionCellWrapper around each cell",
        },
        section='equations 2.10 to 2.12, 6.3',
        is_later=True,
    )
    attention_length: int = setting(
        'Number of its last outputs that a cell with --attention_kind=wrapper attends to.',
        40,
        at_least=1,
        at_most=10_000,
        noun='outputs',
        section='6.3',
        is_later=True,
    )
    rnn_dropout: float = setting(
        'Dropout rate between the outputs of the recurrent network and the classifier.',
        0.0,
        at_least=0,
        below=1,
        noun='a rate',
    )
    fc6_dropout: float = setting(
        "Dropout rate between VGG-Face's fc6 and the layers of temporal and early_fusion that take it.",
        0.0,
        at_least=0,
        below=1,
        noun='a rate',
        section='2.4.2, 5.2, 6.3',
        is_later=True,
    )
    hidden_units: tuple[int, ...] = setting(
        'Hidden layers of ffn.',
        (1024,),
        at_least=1,
        at_most=10**6,
        fewest=1,
        expected='units of each layer, such as 1024, or 256,64 for two layers',
        section='6.4',
    )
    batch_norm: bool = setting('Batch normalisation in the hidden layers of ffn.', False, section='6.4')
    fusion_option: int = setting(
        'How early fusion joins images and audio.',
        2,
        choices={
            1: 'CNN features and audio descriptors into a GRU',
            2: 'CNN features and audio GRU into a GRU',
            3: 'CNN features and audio GRU into a dense layer',
            4: 'visual GRU and audio GRU into a GRU',
        },
        section='4.4, 6.5, figure 6.13',
    )
    # Objective.
    classify: str = setting(
        'What a prediction and its loss cover.',
        'exact',
        choices={
            'frame': 'each real frame, the other reading of "Per Frame"',
            'exact': 'the real frames of a window together',
            'padded': 'the padded window',
        },
        section='5.8',
    )
    aggregate: str = setting(
        "How the frames' logits become the logits of a window.",
        'mean',
        choices=dict.fromkeys(('mean', 'median'), ''),
        section='5.8',
    )
    video_answer: str = setting(
        'How the answer for a video is made, in validation and evaluation. The text describes windows only.',
        'frames',
        choices={
            'frames': 'the mean of its windows, weighted by their real frames',
            'windows': 'the mean of its windows, equally weighted',
            'median': 'the median of all its frames, also of the repeated ones with --classify=padded',
        },
        section='5.8',
        is_later=True,
    )
    loss: str = setting('Loss of an item.', 'cross_entropy', choices=dict.fromkeys(('cross_entropy', 'focal'), ''))
    focal_gamma: float = setting('Exponent of the focal loss.', 2.0, at_least=0)
    label_smoothing: float = setting(
        'Share of the target of --loss=cross_entropy that is spread evenly over all classes. FER2013 has many wrong '
        'labels, and with 0.1 the network trusts each of them less.',
        0.0,
        at_least=0,
        below=1,
        noun='a share',
        is_later=True,
    )
    class_weights: str = setting(
        'Weight of an item in the loss.',
        'none',
        choices={
            'none': '1',
            'balanced': 'inverse to the frequency of its class in training',
            'sqrt': 'inverse to the square root of that frequency',
        },
        section='2.3',
    )
    sampling: str = setting(
        'Windows of an epoch of training.',
        'all',
        choices={
            'all': 'each once',
            'balanced': 'as many of each class as the class with the most has, each at least once',
        },
        section='2.3',
        is_later=True,
    )
    island_weight: float = setting(
        'Weight of the island loss.', 0.0, choices={0: 'without it'}, above=0, section='2.4.7'
    )
    island_pair_weight: float = setting(
        'Weight, within the island loss, of the term that separates centres of classes (lambda_1 of Cai et al.).',
        1.0,
        at_least=0,
        section='2.4.7',
    )
    locality_weight: float = setting(
        'Weight of the locality-preserving loss.', 0.0, choices={0: 'without it'}, above=0, section='2.4.7'
    )
    locality_neighbours: int = setting(
        'Number of nearest neighbours, of the same class and batch, in the locality-preserving loss.',
        20,
        at_least=1,
        noun='neighbours',
        section='2.4.7',
    )
    l2: float = setting('Weight of half the sum of squares of the trained kernels.', 0.0, at_least=0, section='2.4.8')
    # Augmentation, in training only.
    augment: tuple[str, ...] = setting(
        'Changes of the images in training, sampled once for each window. Separate several by commas. Empty: none.',
        (),
        choices=dict.fromkeys(('flip', 'crop', 'rotate', 'shift', 'colour', 'cutout'), ''),
        section='2.2.3',
    )
    augment_windows: str = setting(
        'Windows that --augment, --audio_noise and --audio_time_mask change.',
        'all',
        choices={
            'all': 'each',
            'rarer': 'those of classes with fewer windows than the mean of all classes',
            'added': 'those that --sampling=balanced adds',
        },
        section='2.3',
        is_later=True,
    )
    audio_noise: float = setting(
        'Standard deviation of the noise that is added to scaled audio features.',
        0.0,
        at_least=0,
        noun='a standard deviation',
    )
    audio_time_mask: float = setting(
        'Largest share of a window whose audio is masked.', 0.0, at_least=0, below=1, noun='a share'
    )
    # Optimisation.
    batch_size: int = setting(
        'Windows per step.',
        None,
        at_least=1,
        noun='windows',
        by_default='64 in pretrain, 16 in audio, 4 in other stages',
        section='6.1, 6.2, 6.4',
    )
    train_epochs: tuple[int, ...] = setting(
        'Epochs of training. Two numbers are two phases: the new layers only, then everything. With 20,0 there is no '
        'second phase.',
        (30,),
        at_least=0,
        fewest=1,
        most=2,
        expected='30, or two phases as 5,25, or 20,0 for the new layers only',
        section='6.2, 6.3, 6.5',
    )
    max_steps: int = setting('Stop after so many steps in all.', 0, choices={0: 'no limit'}, at_least=1, noun='steps')
    optimizer: str = setting(
        "Optimiser, with TensorFlow 1's constants.",
        'adam',
        choices={
            'adam': 'beta1 0.9, beta2 0.999, epsilon 1e-8',
            'sgd': 'stochastic gradient descent',
            'momentum': 'sgd with --momentum',
            'rmsprop': 'decay 0.9, no momentum, epsilon 1e-10 inside the root',
        },
        section='2.4.6, 6.1',
        is_later=True,
    )
    momentum: float = setting(
        'Share of the last step that --optimizer=momentum adds to the next one.',
        0.9,
        at_least=0,
        below=1,
        noun='a share',
        section='2.4.6',
        is_later=True,
    )
    keep_optimizer: bool = setting(
        "Whether phase two continues with phase one's optimiser for the variables of phase one. False: phase two "
        'starts with a new optimiser.',
        False,
        section='6.2, 6.3',
        is_later=True,
    )
    learning_rate: float = setting("The optimiser's learning rate at the start.", 1e-5, above=0, section='6.1')
    lr_schedule: str = setting(
        'Schedule of the learning rate.',
        'reduce',
        choices={
            'static': 'constant',
            'reduce': 'times --decay_rate every --decay_steps steps',
            'cosine': 'half a cosine, from its start to 0 at the end of the last epoch',
        },
        section='6.1',
    )
    decay_rate: float = setting(
        'Factor of the reducing learning rate.', 0.95, above=0, at_most=1, noun='a factor', section='6.1'
    )
    decay_steps: int = setting('Steps between two reductions.', 5000, at_least=1, noun='steps', section='6.1')
    warmup_steps: int = setting(
        'Steps in which the learning rate rises from 0 in a line, before --lr_schedule=cosine falls.',
        0,
        at_least=0,
        noun='steps',
        is_later=True,
    )
    clip_norm: float = setting(
        'Largest norm of all gradients together.', 0.0, choices={0: 'no clipping'}, above=0, noun='a norm'
    )
    early_stopping: int = setting(
        'Stop after so many epochs without a better validation, and keep the best checkpoint.',
        0,
        choices={0: 'never'},
        at_least=1,
        noun='epochs',
    )
    keep_best: bool = setting(
        'Keep the checkpoint of the best validation, which then answers in evaluation, instead of the last. '
        '--early_stopping does so too. The score of the best epoch is optimistic on the videos that chose it.',
        False,
        section='6.2, 6.3',
        is_later=True,
    )
    # Start.
    init_from: str = setting(
        'Weights to start from: a run folder, a TensorFlow checkpoint, or a file of public weights, which is '
        'recognised by its content. Or starter:face or starter:voice, which the package brings. Empty: fresh weights.',
        '',
        is_path=True,
        section='6.1',
    )
    audio_run_dir: str = setting(
        'Run of audio_gru whose network early fusion of option 2, 3 or 4 uses for audio.',
        '',
        is_path=True,
        section='6.5',
    )
    reinit_fc: bool = setting('Start with fresh dense layers instead of restored ones.', False, section='6.2')
    initialiser: str = setting(
        'How new layers start, where no weights are restored.',
        None,
        by_default='zero_gamma for networks with residual branches, else fan_out',
        choices={
            'fan_out': 'He over the fan-out, small classifiers, as in torchvision',
            'zero_gamma': 'as fan_out, and residual branches start at zero',
            'fan_in': 'He over the fan-in, Xavier for classifiers, as in slim',
        },
        before='fan_in',
        is_later=True,
    )
    input_convention: str = setting(
        'Which pixels the network gets.',
        'source',
        choices={'source': 'those that the weights were trained on', 'dissertation': '[-1, 1] for any weights'},
        section='5.1.1',
    )
    allow_missing: bool = setting(
        'Keep fresh values for variables that the weights do not have or have in another shape.', False
    )
    seed: int = setting(
        'Fixes weights, shuffling and dropout. A run on CPUs repeats to the bit.', 0, at_least=0, at_most=2**31 - 1
    )
    run_dir: str = setting(
        'Folder of the run.', '', is_path=True, by_default='runs/<stage>/<model>/<its main settings>'
    )
    # Unreadable files, input and speed. A flags.txt without one of these means its default.
    on_bad_frame: str = setting(
        'How to handle unreadable images and audio files.',
        'error',
        choices={
            'error': 'stop',
            'skip': 'leave out the frame and list it in bad_frames.csv, after decoding every image once before the run',
        },
        is_later=True,
    )
    max_bad_fraction: float = setting(
        'Largest share of the frames of a split that --on_bad_frame=skip may leave out.',
        0.01,
        at_least=0,
        at_most=1,
        noun='a share',
        is_later=True,
    )
    bucket_by_length: bool = setting(
        'Mix long and short windows in each batch, so that batches have about the same number of frames. '
        'False: shuffle freely, as in the dissertation.',
        False,
        is_later=True,
    )
    frame_cache: str = setting(
        'Folder of decoded frames that runs share. It is filled before the first epoch and gives the same pixels. '
        'Empty: decode every image in every epoch.',
        '',
        is_path=True,
        is_later=True,
    )
    frame_cache_gb: float = setting(
        'Largest size of --frame_cache in GB of 10^9 bytes. To make room, frames that no run uses are removed, the '
        'longest unused first. Frames that do not fit are decoded in every epoch.',
        50.0,
        above=0,
        is_later=True,
    )
    xla: bool = setting(
        'Compile with XLA. It compiles again for each new number of frames, so it pays only if batches repeat a few '
        'numbers (pretrain, --seq_len=1). Results differ in their last digits.',
        False,
        is_later=True,
    )
    mixed_precision: bool = setting(
        'Compute in 16 bits where that is safe: float16 on GPUs, bfloat16 on CPUs with instructions for it. Weights, '
        'their gradients and sums stay float32.',
        False,
        is_later=True,
    )
    feature_cache: str = setting(
        'Folder that keeps the features of frames for every run with the same CNN. A CNN that phase one does not '
        'train then computes each frame once, not once an epoch. Empty: keep none.',
        '',
        is_path=True,
        is_later=True,
    )
    feature_cache_gb: float = setting(
        'Largest size of --feature_cache in GB of 10^9 bytes. To make room, features that no run uses are removed, the '
        'longest unused first.',
        20.0,
        above=0,
        is_later=True,
    )
    frames_per_chunk: int = setting(
        'Most frames whose layer outputs a step that trains the CNN keeps at once. A step in chunks takes a third '
        'longer. Chunks change results beyond rounding only if batch normalisation learns.',
        0,
        choices={0: 'as many as keep 8 GB', -1: 'all frames of a batch'},
        at_least=1,
        noun='frames',
        is_later=True,
    )
    intra_op_threads: int = setting(
        'Threads of one operation. They decide the order of sums: with the same number of threads, runs on CPUs of one '
        'type are the same to the bit on any number of cores.',
        0,
        choices={0: 'one per core'},
        at_least=1,
        at_most=4096,
        noun='threads',
        is_later=True,
    )
    inter_op_threads: int = setting(
        'Operations that run at the same time.',
        0,
        choices={0: 'one per core'},
        at_least=1,
        at_most=4096,
        noun='threads',
        is_later=True,
    )
    gpu: int = setting(
        'Which GPU to use, by its index among those that TensorFlow finds.',
        -1,
        choices={-1: 'the first, or the CPU without one'},
        at_least=0,
        noun='as an index',
        is_later=True,
    )
    gpu_memory_gb: float = setting(
        'Most memory to take on the GPU, in GB of 10^9 bytes.',
        0.0,
        choices={0: 'as much as is needed'},
        above=0,
        is_later=True,
    )

    @property
    def best_is_kept_by(self) -> str:
        """Returns the flag that keeps the best epoch's checkpoint, which then answers instead of the last, or ''."""
        return '--keep_best' if self.keep_best else '--early_stopping' if self.early_stopping else ''


def write_flagfile(path: str | Path, config: TrainConfig) -> None:
    """Writes every setting, defaults included: `python train.py --flagfile=PATH --run_dir=NEW` replays the run."""
    with atomic_write(path) as file:
        file.writelines(f'--{name}={text}\n' for name, text in format_values(config).items())


def read_flagfile(path: str | Path) -> TrainConfig:
    """Returns the settings that `write_flagfile` wrote. Only their types are checked.

    Raises:
      InputError: the file is missing, does not have a setting, or has one that is not of its type.
    """
    texts = read_flag_texts(path)
    for name, one in settings_of(TrainConfig).items():
        if name not in texts and not one.is_later:
            raise InputError(f'{path}: no --{name}; expected every flag of the run')
    try:
        return TrainConfig(**{**values_before(TrainConfig, texts.keys()), **parse_values(TrainConfig, texts)})
    except InputError as error:
        raise InputError(f'{path}: {error}') from None


def read_flag_texts(path: str | Path) -> dict[str, str]:
    """Returns {flag: text} of the lines that `write_flagfile` wrote. Neither names nor values are checked.

    Raises:
      InputError: the file is missing or not text.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').split('\n')
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'not UTF-8 text'
        raise InputError(f'{path}: {reason}; expected the flags of a run') from None
    return dict(line.removeprefix('--').partition('=')[::2] for line in lines if line.startswith('--'))


def find_differences(ours: TrainConfig, theirs: TrainConfig) -> dict[str, tuple[str, str]]:
    """Returns {name: (our text, their text)} of the settings in which two runs differ."""
    texts = format_values(theirs)
    return {
        name: (text, texts[name])
        for name, text in format_values(ours).items()
        if getattr(ours, name) != getattr(theirs, name)
    }


def list_differences(ours: TrainConfig, theirs: TrainConfig, ignore: tuple[str, ...]) -> list[str]:
    """Returns `--name=ours (theirs)` for each setting in which two runs differ. Those in `ignore` are left out."""
    different = find_differences(ours, theirs)
    return [f'--{name}={text} ({other})' for name, (text, other) in different.items() if name not in ignore]
