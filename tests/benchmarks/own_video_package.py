# SPDX-License-Identifier: Apache-2.0
"""The side of the `fer` package of PyPI in own_video.py: prints its seconds, CPU seconds and answered frames as JSON.

It runs in the environment of peers_venv.py by `python -P` outside the checkout, where `import fer` is that package. Its
face detector is the MTCNN of facenet-pytorch. It writes its table and neither pictures nor a video.
"""

import json
import os
import sys
import time
import warnings

import cv2

os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
os.environ['CUDA_VISIBLE_DEVICES'] = ''
warnings.simplefilter('ignore')


def main() -> None:
    began = time.perf_counter()
    import facenet_pytorch  # noqa: F401 (before TensorFlow, after which some builds of PyTorch crash)
    from fer.classes import Video
    from fer.fer import FER

    cv2.destroyAllWindows, cv2.waitKey = lambda: None, lambda delay=0: -1  # headless OpenCV has no windows

    detector = FER(mtcnn=True)
    rows = Video(sys.argv[1]).analyze(
        detector, save_frames=False, save_video=False, annotate_frames=False, zip_images=False
    )
    cpu = sum(os.times()[:4])
    answered = sum(any(key.startswith('happy') for key in row) for row in rows)
    print(json.dumps({'seconds': time.perf_counter() - began, 'cpu': cpu, 'frames': len(rows), 'answered': answered}))


if __name__ == '__main__':
    main()
