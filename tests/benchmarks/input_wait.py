"""What share of a training step is spent waiting for input: python -m tests.benchmarks.input_wait [--model=resnet50]

Steps that read their batches from JPEGs of 224x224 pixels on disk, and steps whose batches are at hand in memory.
Videos differ in length, so it takes a dozen steps a turn to tell small shares from none. Takes any flag of train.py;
--frame_cache=FOLDER shows what that leaves.
"""

from absl import flags

from fer import cli
from tests.benchmarks import timing
from tests.benchmarks.runs import Training, drawn_manifest

flags.DEFINE_integer('steps', 4, 'Steps of a turn.', lower_bound=1)
flags.DEFINE_integer('videos', 20, 'Videos drawn.', lower_bound=4)
flags.DEFINE_integer('jpeg_size', 224, 'Height and width of the JPEGs.')
READ_AHEAD = 4  # batches that the pipeline may hold ready
flags.FLAGS.set_default('model', 'resnet50')


def main() -> None:
    values = flags.FLAGS
    training = Training(drawn_manifest(values.videos, values.jpeg_size))

    def from_memory() -> float:
        # New ones each time, as from disk: the first step of a number of frames costs more than its repetition.
        at_hand = [training.read() for _ in range(values.steps)]
        done = [training.step(batch) for batch in at_hand]
        return sum(seconds for _, seconds in done) / sum(frames for frames, _ in done)

    def from_disk() -> float:
        for _ in range(READ_AHEAD):  # what was read during the other's turn
            training.read()
        done = [training.step() for _ in range(values.steps)]
        return sum(seconds for _, seconds in done) / sum(frames for frames, _ in done)

    found = timing.interleave({'from disk': from_disk, 'from memory': from_memory}, values.rounds)
    waiting = [100 * (1 - 1 / ratio) for ratio in timing.ratios(found, 'from disk', 'from memory')]
    milliseconds = {f'{name}, ms a frame': [1e3 * value for value in times] for name, times in found.items()}
    config = training.config
    timing.report(
        f'{config.model}, width {config.width:g}, {values.jpeg_size}-pixel JPEGs at {config.image_size}: a step',
        {**milliseconds, 'waiting for input, % of a step': waiting},
    )


if __name__ == '__main__':
    cli.run(main)
